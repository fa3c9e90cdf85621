import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { AgentClient } from './client.ts';
import { FakeAgent, type FakeExit } from './fake-peer.ts';

const soon = (ms = 5000) => deadline('a test', ms);

async function setUp(t: TestContext) {
  const fake = await FakeAgent.start();
  t.after(() => fake.close());
  const agent = await AgentClient.connect({ path: fake.path, name: 'fake', signal: soon() });
  t.after(() => agent.close());
  return { fake, agent };
}

function hasCode(code: string, text = /./) {
  return (error: unknown) =>
    error instanceof ShadowferryError && error.code === code && text.test(error.message);
}

const names = (fake: FakeAgent) => fake.received.map(({ execute }) => execute);

describe('the agent’s request stream', () => {
  it('is synchronised before the first request of a series only', async (t) => {
    const { fake, agent } = await setUp(t);
    await agent.ping();
    await agent.ping();
    assert.deepEqual(names(fake), ['guest-sync-delimited', 'guest-ping', 'guest-ping']);
  });

  it('carries one request at a time, in the order asked', async (t) => {
    const { fake, agent } = await setUp(t);
    let waiting = 0;
    fake.handle('guest-ping', (_, io) => {
      waiting += 1;
      assert.equal(waiting, 1);
      setImmediate(() => {
        waiting -= 1;
        io.reply();
      });
    });
    await Promise.all([agent.ping(), agent.ping(), agent.ping(), agent.info()]);
    assert.deepEqual(names(fake).slice(1), ['guest-ping', 'guest-ping', 'guest-ping', 'guest-info']);
  });

  it('takes the silence of an agent that shuts the guest down for its consent', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.handle('guest-shutdown', () => {});
    await agent.shutDown({ tryMs: 200 });
    assert.deepEqual(fake.received.at(-1)?.arguments, { mode: 'powerdown' });
    fake.handle('guest-shutdown', (_, io) => io.refuse('it is disabled', 'CommandNotFound'));
    await assert.rejects(agent.shutDown({ tryMs: 2000 }), hasCode('AGENT_REFUSED'));
    fake.sleep();
    await assert.rejects(agent.shutDown({ tryMs: 30 }), hasCode('AGENT_SILENT', /guest-ping/));
  });

  it('says AGENT_SILENT with the command when nothing answers, and sends the request itself never', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.sleep();
    await assert.rejects(agent.ping({ timeoutMs: 30 }), hasCode('AGENT_SILENT', /guest-ping within 30 ms/));
    fake.wake();
    await agent.info();
    assert.equal(names(fake).includes('guest-ping'), false);
  });

  it('says AGENT_SILENT when the caller’s own deadline comes first, but passes a cancellation on', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.sleep();
    await assert.rejects(agent.ping({ signal: soon(30) }), hasCode('AGENT_SILENT'));
    await assert.rejects(agent.ping({ signal: AbortSignal.timeout(30) }), hasCode('AGENT_SILENT'));
    const abort = new AbortController();
    const cancelled = assert.rejects(agent.ping({ signal: abort.signal }), hasCode('CANCELLED'));
    setImmediate(() => abort.abort(new ShadowferryError('CANCELLED', { phase: 'stage' })));
    await cancelled;
  });

  it('is in step again after a timeout, dropping the late reply', async (t) => {
    const { fake, agent } = await setUp(t);
    await agent.ping();
    fake.handle('guest-info', () => {});
    await assert.rejects(agent.info({ timeoutMs: 30 }), hasCode('AGENT_SILENT'));
    fake.raw('{"return": {"version": "late", "supported_commands": []}}\n');
    fake.handle('guest-info', (_, io) => io.reply({ version: 'in time', supported_commands: [] }));
    assert.equal((await agent.info()).version, 'in time');
  });

  it('is in step again after an aborted request', async (t) => {
    const { fake, agent } = await setUp(t);
    const held = fake.next('guest-ping');
    fake.handle('guest-ping', () => {});
    const abort = new AbortController();
    const aborted = assert.rejects(agent.ping({ signal: abort.signal }), /enough/);
    const next = agent.info();
    await held;
    abort.abort(new Error('enough'));
    await aborted;
    assert.equal((await next).version, '7.2.22');
    assert.deepEqual(names(fake), [
      'guest-sync-delimited',
      'guest-ping',
      'guest-sync-delimited',
      'guest-info',
    ]);
  });

  it('rejects a request aborted while it queues at once, and keeps the order of the others', async (t) => {
    const { fake, agent } = await setUp(t);
    let release = () => {};
    fake.handle('guest-ping', (_, io) => {
      release = io.reply;
    });
    const held = fake.next('guest-ping');
    const first = agent.ping();
    const abort = new AbortController();
    const aborted = assert.rejects(agent.ping({ signal: abort.signal }), /enough/);
    const third = agent.info();
    await held;
    abort.abort(new Error('enough'));
    await aborted; // while the first is still unanswered
    release();
    await Promise.all([first, third]);
    assert.deepEqual(names(fake), ['guest-sync-delimited', 'guest-ping', 'guest-info']);
  });

  it('finds its step in whatever an earlier client left in the channel', async (t) => {
    const fake = await FakeAgent.start();
    t.after(() => fake.close());
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), fc.nat({ max: 9 }), async (left, token) => {
        await using agent = await AgentClient.connect({ path: fake.path, name: 'fake', signal: soon() });
        const leftover = Buffer.concat([
          Buffer.from([0xff]),
          Buffer.from(`{"return": ${token}}\n{"return": {"version":"stale"}}\n`),
          Buffer.from(left),
        ]);
        fake.handle('guest-sync-delimited', ({ arguments: { id } }, io) => {
          io.raw(leftover);
          io.raw(Buffer.concat([Buffer.from([0xff]), Buffer.from(`{"return": ${JSON.stringify(id)}}\n`)]));
        });
        assert.equal((await agent.info()).version, '7.2.22');
      }),
      { numRuns: 50 },
    );
  });

  it('makes the agent forget half a request that an earlier client left', async (t) => {
    const fake = await FakeAgent.start();
    t.after(() => fake.close());
    const rude = connect(fake.path);
    await new Promise<void>((resolve) => rude.end('{"execute": "guest-', () => resolve()));
    await using agent = await AgentClient.connect({ path: fake.path, name: 'fake', signal: soon() });
    await agent.ping();
    assert.deepEqual(names(fake), ['guest-sync-delimited', 'guest-ping']);
  });

  it('refuses a garbled answer and is in step for the next', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.handle('guest-ping', (_, io) => io.raw('{"ret\n'));
    await assert.rejects(agent.ping(), hasCode('ANSWER_UNEXPECTED', /fake answered guest-ping .*not JSON/));
    fake.handle('guest-info', (_, io) => io.reply({ version: 7 }));
    await assert.rejects(agent.info(), hasCode('ANSWER_UNEXPECTED', /guest-info/));
    fake.handle('guest-ping', (_, io) => io.reply());
    await agent.ping();
    const syncs = names(fake).filter((name) => name === 'guest-sync-delimited');
    assert.equal(syncs.length, 2); // at the start and after what was not JSON
  });

  it('answers or refuses, and never hangs, whatever comes back', async (t) => {
    const fake = await FakeAgent.start();
    t.after(() => fake.close());
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (garbage) => {
        await using agent = await AgentClient.connect({ path: fake.path, name: 'fake', signal: soon() });
        fake.handle('guest-ping', (_, io) =>
          io.raw(Buffer.concat([Buffer.from(garbage), Buffer.from('\n{}\n')])),
        );
        await assert.rejects(agent.ping(), hasCode('ANSWER_UNEXPECTED'));
        await agent.info();
      }),
      { numRuns: 50 },
    );
  });

  it('tells a disabled command from a silent agent', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.handle('guest-exec', (_, io) =>
      io.refuse('The command guest-exec has been disabled for this instance', 'CommandNotFound'),
    );
    await assert.rejects(agent.exec(['true']), (error) => {
      assert.ok(error instanceof ShadowferryError && error.code === 'AGENT_REFUSED');
      assert.equal(error.params.command, 'guest-exec');
      assert.equal(error.params.class, 'CommandNotFound');
      return true;
    });
  });

  it('rejects with AGENT_CLOSED when the socket ends', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.handle('guest-ping', () => fake.hangUp());
    await assert.rejects(agent.ping(), hasCode('AGENT_CLOSED', /the other side closed it/));
    await assert.rejects(agent.ping(), hasCode('AGENT_CLOSED'));
    await agent.close();
  });

  it('gives up dialling with the signal’s reason, and at once where trying again cannot help', async () => {
    const connect = (path: string) => AgentClient.connect({ path, name: 'none', signal: soon(30) });
    await assert.rejects(connect(join(tmpdir(), 'no-such', 'socket')), hasCode('DEADLINE'));
    await assert.rejects(connect(`/${'x'.repeat(200)}`), hasCode('AGENT_CLOSED'));
  });
});

describe('waitReady', () => {
  it('resolves once the agent runs', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.sleep();
    const ready = agent.waitReady({ signal: soon(), tryMs: 20 });
    setTimeout(() => fake.wake(), 50);
    await ready;
    assert.equal(names(fake).filter((name) => name === 'guest-ping').length, 1);
  });

  it('says how long it waited in all', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.sleep();
    await assert.rejects(agent.waitReady({ signal: soon(60), tryMs: 20 }), (error) => {
      assert.ok(error instanceof ShadowferryError && error.code === 'AGENT_SILENT');
      assert.ok(Number(error.params.ms) >= 55);
      return true;
    });
  });

  it('passes a cancellation and a closed socket on', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.sleep();
    const abort = new AbortController();
    const cancelled = assert.rejects(agent.waitReady({ signal: abort.signal }), /enough/);
    setImmediate(() => abort.abort(new Error('enough')));
    await cancelled;
    fake.hangUp();
    await assert.rejects(agent.waitReady({ signal: soon() }), hasCode('AGENT_CLOSED'));
  });
});

describe('info', () => {
  it('lists the enabled commands only', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.handle('guest-info', (_, io) =>
      io.reply({
        version: '9.1',
        supported_commands: [
          { name: 'guest-ping', enabled: true, 'success-response': true },
          { name: 'guest-exec', enabled: false, 'success-response': true },
        ],
      }),
    );
    assert.deepEqual(await agent.info(), { version: '9.1', commands: ['guest-ping'] });
  });
});

describe('exec', () => {
  async function withProgram(t: TestContext, exit: FakeExit) {
    const { fake, agent } = await setUp(t);
    fake.program = () => exit;
    return { fake, agent };
  }

  it('passes arguments, input and environment as they are, and decodes the output', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.program = (argv, input, env) => ({
      stdout: JSON.stringify({ argv, input, env }),
      stderr: 'Grüße',
      polls: 2,
    });
    const argv = ['/bin/echo', '$HOME; "x"', ''] as const;
    const { code, stdout, stderr, truncated } = await agent.exec([...argv], {
      input: 'ein Süßes\n',
      env: { PATH: '/bin' },
    });
    assert.deepEqual(JSON.parse(stdout), { argv, input: 'ein Süßes\n', env: ['PATH=/bin'] });
    assert.deepEqual({ code, stderr, truncated }, { code: 0, stderr: 'Grüße', truncated: false });
    assert.equal(names(fake).filter((name) => name === 'guest-exec-status').length, 3);
  });

  it('gives a non-zero exit as a result', async (t) => {
    const { agent } = await withProgram(t, { code: 3, stderr: 'no' });
    const { code, stderr } = await agent.exec(['ip', 'link']);
    assert.deepEqual({ code, stderr }, { code: 3, stderr: 'no' });
  });

  it('throws on a non-zero exit when asked to check', async (t) => {
    const { agent } = await withProgram(t, { code: 3, stderr: 'no\n' });
    await assert.rejects(
      agent.exec(['ip', 'link'], { check: true }),
      hasCode('GUEST_COMMAND_FAILED', /run ip link \(exit 3\): no$/),
    );
  });

  it('gives a signal as a shell does', async (t) => {
    const { agent } = await withProgram(t, { signal: 9 });
    assert.equal((await agent.exec(['x'])).code, 137);
  });

  it('gives a program that is not there as a shell does', async (t) => {
    const { fake, agent } = await setUp(t);
    const { code, stderr } = await agent.exec(['ethtool']);
    assert.equal(code, 127);
    assert.match(stderr, /ethtool.*No such file/);
    fake.handle('guest-exec', (_, io) =>
      io.refuse('Failed to execute child process “x” (Permission denied)'),
    );
    assert.equal((await agent.exec(['x'])).code, 126);
  });

  it('says so when the output was cut', async (t) => {
    const { agent } = await withProgram(t, { stdout: 'x', truncated: true });
    assert.equal((await agent.exec(['x'])).truncated, true);
  });

  it('ends at its limit with DEADLINE while the agent answers', async (t) => {
    const { agent } = await withProgram(t, { polls: Number.POSITIVE_INFINITY });
    await assert.rejects(
      agent.exec(['sleep', '9'], { timeoutMs: 80 }),
      hasCode('DEADLINE', /"sleep 9" in the guest took longer than 80 ms/),
    );
    await agent.ping();
  });

  it('takes a limit reached during a short exchange for the command’s, not the agent’s', async (t) => {
    const { fake, agent } = await withProgram(t, {});
    fake.handle('guest-exec-status', () => {});
    await assert.rejects(agent.exec(['x'], { timeoutMs: 80 }), hasCode('DEADLINE'));
  });

  it('ends with AGENT_SILENT when the agent stops answering, at the start or midway', async (t) => {
    const { fake, agent } = await withProgram(t, { polls: Number.POSITIVE_INFINITY });
    fake.sleep();
    await assert.rejects(agent.exec(['x'], { timeoutMs: 50 }), hasCode('AGENT_SILENT', /guest-exec/));
    fake.wake();
    const polled = fake.next('guest-exec-status');
    const midway = assert.rejects(
      agent.exec(['x'], { timeoutMs: 2000 }),
      hasCode('AGENT_SILENT', /guest-exec-status/),
    );
    await polled;
    fake.sleep();
    await midway;
  });

  it('lets other requests through while a command runs', async (t) => {
    const { fake, agent } = await setUp(t);
    const exit: FakeExit = { polls: 4 };
    fake.program = () => exit;
    const polled = fake.next('guest-exec-status');
    const running = agent.exec(['x']);
    await polled;
    await agent.ping();
    await running;
    assert.equal(names(fake).at(-1), 'guest-exec-status');
  });
});
