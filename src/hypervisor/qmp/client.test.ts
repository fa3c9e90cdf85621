import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { QmpClient } from './client.ts';
import type { FakeIo } from './fake-peer.ts';
import { type FakePeerOptions, FakeQmpPeer, GREETING } from './fake-peer.ts';
import { cut } from './fake-socket.ts';

const soon = (ms = 5000) => deadline('a test', ms);

async function setUp(t: TestContext, options?: FakePeerOptions) {
  const peer = await FakeQmpPeer.start(options);
  t.after(() => peer.close());
  const client = await QmpClient.connect({ path: peer.path, name: 'fake', signal: soon() });
  t.after(() => client.close());
  return { peer, client };
}

function hasCode(code: string, text = /./) {
  return (error: unknown) =>
    error instanceof ShadowferryError && error.code === code && text.test(error.message);
}

/** A round trip: what the peer sent before it has been read when this resolves. */
async function settle(client: QmpClient): Promise<void> {
  await assert.rejects(client.execute('no-such-command'), hasCode('QMP_REFUSED'));
}

describe('connecting', () => {
  it('greets, negotiates and tells the version', async (t) => {
    const { peer, client } = await setUp(t);
    assert.deepEqual(client.version, { major: 7, minor: 2, micro: 22, package: 'fake' });
    assert.deepEqual(
      peer.received.map(({ execute }) => execute),
      ['qmp_capabilities'],
    );
  });

  it('waits for a socket that does not exist yet', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'qmp-late-'));
    t.after(() => rm(directory, { recursive: true }));
    const path = join(directory, 'socket');
    const connecting = QmpClient.connect({ path, name: 'late', signal: soon() });
    const peer = await FakeQmpPeer.start({ path });
    t.after(() => peer.close());
    const client = await connecting;
    t.after(() => client.close());
    assert.equal(client.version.major, 7);
  });

  it('gives up with the signal’s reason when nothing ever listens', async () => {
    const path = join(tmpdir(), 'no-such-directory', 'socket');
    await assert.rejects(
      QmpClient.connect({ path, name: 'none', signal: soon(30) }),
      hasCode('DEADLINE', /30 ms/),
    );
  });

  it('fails at once when trying again cannot help', async () => {
    const path = `/${'x'.repeat(200)}`;
    await assert.rejects(QmpClient.connect({ path, name: 'long', signal: soon() }), hasCode('QMP_CLOSED'));
  });

  it('waits for a late greeting', async (t) => {
    const greeting = Promise.withResolvers<void>();
    const peer = await FakeQmpPeer.start({ greetWhen: greeting.promise });
    t.after(() => peer.close());
    const connecting = QmpClient.connect({ path: peer.path, name: 'late', signal: soon() });
    greeting.resolve();
    const client = await connecting;
    await client.close();
  });

  it('gives up on a peer that accepts but never greets, and frees its place', async (t) => {
    const never = new Promise<void>(() => {});
    const peer = await FakeQmpPeer.start({ greetWhen: never });
    t.after(() => peer.close());
    const connect = (ms: number) => QmpClient.connect({ path: peer.path, name: 'mute', signal: soon(ms) });
    // long enough for a busy machine to accept
    await assert.rejects(connect(300), hasCode('DEADLINE'));
    await assert.rejects(connect(300), hasCode('DEADLINE'));
    assert.equal(peer.clients, 2);
  });

  it('fails when the peer is not a QEMU', async (t) => {
    const peer = await FakeQmpPeer.start({ greeting: 'HTTP/1.1 400 Bad Request\r\n\r\n' });
    t.after(() => peer.close());
    await assert.rejects(
      QmpClient.connect({ path: peer.path, name: 'web', signal: soon() }),
      hasCode('QMP_CLOSED', /broke the protocol: not JSON: "HTTP/),
    );
  });
});

describe('execute', () => {
  it('resolves with the checked and typed return', async (t) => {
    const { peer, client } = await setUp(t);
    peer.answer('query-status', { status: 'running', running: true });
    const schema = z.object({ running: z.boolean() });
    assert.deepEqual(await client.execute('query-status', undefined, { schema }), { running: true });
  });

  it('says which command was answered with what does not fit', async (t) => {
    const { peer, client } = await setUp(t);
    peer.answer('query-status', { running: 'yes' });
    const schema = z.object({ running: z.boolean() });
    await assert.rejects(
      client.execute('query-status', undefined, { schema }),
      hasCode('ANSWER_UNEXPECTED', /query-status .*boolean/s),
    );
  });

  it('turns QEMU’s refusal into QMP_REFUSED with command, text and class', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => io.refuse("Device 'x' not found", 'DeviceNotFound'));
    await assert.rejects(client.execute('device_del', { id: 'x' }), (error) => {
      assert.ok(hasCode('QMP_REFUSED')(error) && error instanceof ShadowferryError);
      assert.deepEqual(error.params, {
        command: 'device_del',
        description: "Device 'x' not found",
        class: 'DeviceNotFound',
      });
      return true;
    });
  });

  it('matches replies by id when they come in another order', async (t) => {
    const { peer, client } = await setUp(t);
    const held: FakeIo[] = [];
    peer.handle('a', (_, io) => held.push(io));
    peer.handle('b', (_, io) => {
      io.reply('second');
      held[0]?.reply('first');
    });
    assert.deepEqual(await Promise.all([client.execute('a'), client.execute('b')]), ['first', 'second']);
  });

  it('stays usable after an abort, and drops the late reply', async (t) => {
    const { peer, client } = await setUp(t);
    let late: FakeIo | undefined;
    peer.handle('slow', (_, io) => {
      late = io;
    });
    const arrived = peer.next('slow');
    const abort = new AbortController();
    const slow = client.execute('slow', {}, { signal: abort.signal });
    await arrived;
    abort.abort(new Error('enough'));
    await assert.rejects(slow, /enough/);
    late?.reply('too late');
    peer.answer('slow', 'in time');
    assert.equal(await client.execute('slow'), 'in time');
  });

  it('sends nothing when the signal is aborted already', async (t) => {
    const { peer, client } = await setUp(t);
    await assert.rejects(client.execute('stop', {}, { signal: AbortSignal.abort(new Error('no')) }), /no/);
    await settle(client);
    assert.equal(
      peer.received.some(({ execute }) => execute === 'stop'),
      false,
    );
  });

  it('ignores repeated replies, replies without an id and replies with another’s id', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('a', (_, io) => {
      io.raw(
        '{"return":"no id"}\r\n{"error":{"class":"GenericError","desc":"no id"}}\r\n{"return":1,"id":7}\r\n',
      );
      io.reply('yes');
      io.reply('again');
    });
    assert.equal(await client.execute('a'), 'yes');
    assert.equal(await client.execute('a'), 'yes');
  });

  it('takes a reply of several megabytes', async (t) => {
    const { peer, client } = await setUp(t);
    const big = 'x'.repeat(5_000_000);
    peer.answer('big', big);
    assert.equal(await client.execute('big'), big);
  });

  it('reads replies and events the same however they are chunked', async (t) => {
    const { peer, client } = await setUp(t);
    const seen: unknown[] = [];
    client.on('*', ({ name, data }) => seen.push([name, data]));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { maxLength: 5 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        async (events, places) => {
          seen.length = 0;
          peer.handle('go', ({ id }, io) => {
            const lines = [...events.map((data) => ({ event: 'E', data })), { return: events.length, id }];
            const bytes = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\r\n`).join(''));
            for (const part of cut(bytes, places)) io.raw(part);
          });
          assert.equal(await client.execute('go'), events.length);
          assert.deepEqual(seen, JSON.parse(JSON.stringify(events.map((data) => ['E', data]))));
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('losing the connection', () => {
  it('rejects what is in flight when the peer hangs up in the middle of a reply', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('a', (_, io) => {
      io.raw('{"return": {"half":');
      io.hangUp();
    });
    await assert.rejects(client.execute('a'), hasCode('QMP_CLOSED', /fake closed/));
    assert.ok(hasCode('QMP_CLOSED')(await client.closed));
    await assert.rejects(client.execute('b'), hasCode('QMP_CLOSED', /the other side closed it/));
  });

  it('closes on any garbage line, and never hangs or crashes', async (t) => {
    const peer = await FakeQmpPeer.start();
    t.after(() => peer.close());
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (garbage) => {
        await using client = await QmpClient.connect({ path: peer.path, name: 'fake', signal: soon() });
        peer.handle('a', (_, io) =>
          io.raw(Buffer.concat([Buffer.from(garbage), Buffer.from('\nnot json\n')])),
        );
        await assert.rejects(client.execute('a', {}, { signal: soon() }), hasCode('QMP_CLOSED', /protocol/));
        assert.ok((await client.closed) instanceof ShadowferryError);
      }),
      { numRuns: 50 },
    );
  });

  it('resolves `closed` with nothing after close(), and refuses everything from then on', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('slow', () => {});
    const inFlight = assert.rejects(client.execute('slow'), hasCode('QMP_CLOSED', /closed by this side/));
    const waiter = client.waitFor('X', { onDisconnect: 'keep' });
    await client.close();
    await inFlight;
    await assert.rejects(waiter.promise, hasCode('QMP_CLOSED'));
    assert.equal(await client.closed, undefined);
    await assert.rejects(client.execute('a'), hasCode('QMP_CLOSED', /closed by this side/));
    await assert.rejects(client.waitFor('X', { onDisconnect: 'keep' }).promise, hasCode('QMP_CLOSED'));
    await assert.rejects(client.reconnect({ signal: soon() }), hasCode('QMP_CLOSED'));
    assert.equal(peer.clients, 1);
    await client.close();
  });
});

describe('reconnect', () => {
  it('closes the old socket before it dials, as a listener for one client needs', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('slow', () => {});
    const inFlight = assert.rejects(client.execute('slow'), hasCode('QMP_CLOSED', /dialled again/));
    await client.reconnect({ signal: soon() });
    await inFlight;
    assert.equal(peer.clients, 2);
    await settle(client);
  });

  it('works after a loss, and `closed` starts anew', async (t) => {
    const { peer, client } = await setUp(t);
    const before = client.closed;
    peer.hangUp();
    assert.ok(hasCode('QMP_CLOSED')(await before));
    await client.reconnect({ signal: soon() });
    assert.notEqual(client.closed, before);
    await settle(client);
  });

  it('does not settle `closed` while the client lives', async (t) => {
    const { client } = await setUp(t);
    const before = client.closed;
    await client.reconnect({ signal: soon() });
    assert.equal(client.closed, before);
    await client.close();
    assert.equal(await before, undefined);
  });

  it('dials once for several callers', async (t) => {
    const { peer, client } = await setUp(t);
    await Promise.all([client.reconnect({ signal: soon() }), client.reconnect({ signal: soon() })]);
    assert.equal(peer.clients, 2);
  });

  it('rejects the waiters that could miss their event and keeps those that asked for it', async (t) => {
    const { peer, client } = await setUp(t);
    const rejected = client.waitFor('STOP');
    const kept = client.waitFor('STOP', { onDisconnect: 'keep' });
    await client.reconnect({ signal: soon() });
    await assert.rejects(rejected.promise, hasCode('QMP_CLOSED'));
    peer.event('STOP');
    assert.equal((await kept.promise).name, 'STOP');
  });

  it('does not take a reply meant for the connection before', async (t) => {
    const { peer, client } = await setUp(t);
    let staleId: unknown;
    peer.handle('a', ({ id }) => {
      staleId = id;
    });
    const arrived = peer.next('a');
    const lost = assert.rejects(client.execute('a'), hasCode('QMP_CLOSED'));
    await arrived;
    await client.reconnect({ signal: soon() });
    await lost;
    peer.handle('a', (_, io) => {
      io.raw(`${JSON.stringify({ return: 'stale', id: staleId })}\r\n`);
      io.reply('fresh');
    });
    assert.equal(await client.execute('a'), 'fresh');
  });

  it('does not take an event that was sent before the greeting', async (t) => {
    const { client } = await setUp(t, { greeting: `{"event":"STALE"}\r\n${GREETING}` });
    const seen: string[] = [];
    client.on('*', ({ name }) => seen.push(name));
    await client.reconnect({ signal: soon() });
    await settle(client);
    assert.deepEqual(seen, []);
  });

  it('tells `closed` when dialling again fails', async (t) => {
    const { peer, client } = await setUp(t);
    await peer.close();
    await client.closed;
    await assert.rejects(client.reconnect({ signal: soon(30) }), hasCode('DEADLINE'));
    assert.ok((await client.closed) instanceof ShadowferryError);
    await assert.rejects(client.execute('a'), hasCode('QMP_CLOSED', /again failed: .* 30 ms/));
  });
});
