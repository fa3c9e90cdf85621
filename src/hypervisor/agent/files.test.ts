import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { AgentClient } from './client.ts';
import { FakeAgent } from './fake-peer.ts';

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

describe('files', () => {
  it('writes and reads back any bytes, in as many pieces as the agent takes', async (t) => {
    const { fake, agent } = await setUp(t);
    const content = fc.uint8Array({ minLength: 0, maxLength: 1000, size: 'max' });
    await fc.assert(
      fc.asyncProperty(content, fc.integer({ min: 50, max: 1500 }), async (data, chunk) => {
        fake.chunk = chunk;
        await agent.writeFile('/run/x', data);
        assert.deepEqual(fake.files.get('/run/x'), Buffer.from(data));
        assert.deepEqual(await agent.readFile('/run/x'), Buffer.from(data));
      }),
      { numRuns: 20 },
    );
  });

  it('moves a large file in pieces of its own', async (t) => {
    const { fake, agent } = await setUp(t);
    const data = Buffer.alloc(300_000, 'x');
    await agent.writeFile('/run/x', data);
    assert.ok(names(fake).filter((name) => name === 'guest-file-write').length >= 3);
    assert.deepEqual(await agent.readFile('/run/x'), data);
  });

  it('gives the file its permissions before it has content', async (t) => {
    const { fake, agent } = await setUp(t);
    const calls: string[][] = [];
    fake.program = (argv) => {
      calls.push(argv);
      assert.equal(names(fake).includes('guest-file-open'), false);
      return {};
    };
    await agent.writeFile('/run/a b', 'x', { mode: 0o700 });
    assert.deepEqual(
      calls.map((argv) => argv.slice(-2)),
      [['/run/a b', '700']],
    );
  });

  it('does not write when the file cannot be made', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.program = () => ({ code: 1, stderr: 'Read-only file system' });
    await assert.rejects(agent.writeFile('/run/x', 'x'), hasCode('GUEST_COMMAND_FAILED', /Read-only/));
    assert.equal(fake.files.size, 0);
  });

  it('closes the handle after a refusal, and reports the refusal', async (t) => {
    const { fake, agent } = await setUp(t);
    fake.handle('guest-file-write', (_, io) => io.refuse('No space left on device'));
    await assert.rejects(agent.writeFile('/run/x', 'x'), hasCode('AGENT_REFUSED', /No space left/));
    assert.equal(names(fake).at(-1), 'guest-file-close');
  });

  it('refuses to read what is not there or too large', async (t) => {
    const { fake, agent } = await setUp(t);
    await assert.rejects(agent.readFile('/none'), hasCode('AGENT_REFUSED', /No such file/));
    fake.files.set('/big', Buffer.alloc(1001));
    await assert.rejects(agent.readFile('/big', { maxBytes: 1000 }), hasCode('AGENT_REFUSED', /1000 bytes/));
    assert.equal(names(fake).at(-1), 'guest-file-close');
    fake.files.set('/fits', Buffer.alloc(1000));
    assert.equal((await agent.readFile('/fits', { maxBytes: 1000 })).length, 1000);
  });
});
