import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { QmpClient } from './client.ts';
import { FakeQmpPeer } from './fake-peer.ts';
import { type ProxyHooks, QmpProxy } from './proxy.ts';

const soon = (ms = 5000) => deadline('a test', ms);

async function setUp(t: TestContext, hooks: ProxyHooks = {}) {
  const peer = await FakeQmpPeer.start();
  t.after(() => peer.close());
  const proxy = await QmpProxy.start({ listen: `${peer.path}.proxy`, upstream: peer.path, hooks });
  t.after(() => proxy.close());
  const client = await QmpClient.connect({ path: proxy.path, name: 'proxied', signal: soon() });
  t.after(() => client.close());
  for (const name of ['a', 'b', 'c']) peer.answer(name, name);
  return { peer, proxy, client };
}

function isClosed(error: unknown): boolean {
  return error instanceof ShadowferryError && error.code === 'QMP_CLOSED';
}

describe('QmpProxy', () => {
  it('relays commands, replies and events untouched without hooks', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('a', ({ arguments: args }, io) => {
      io.event('E', { n: 1 });
      io.reply(args);
    });
    const event = client.waitFor('E', { signal: soon() });
    assert.deepEqual(await client.execute('a', { deep: [1, { x: 'ü' }] }), { deep: [1, { x: 'ü' }] });
    assert.deepEqual((await event.promise).data, { n: 1 });
  });

  it('swallows a command before the peer sees it', async (t) => {
    const { peer, client } = await setUp(t, { onCommand: (name) => (name === 'a' ? 'swallow' : 'pass') });
    const abort = new AbortController();
    const swallowed = assert.rejects(client.execute('a', {}, { signal: abort.signal }));
    assert.equal(await client.execute('b'), 'b');
    abort.abort();
    await swallowed;
    assert.equal(
      peer.received.some(({ execute }) => execute === 'a'),
      false,
    );
  });

  it('replaces a command, and answers in the peer’s place', async (t) => {
    const { peer, client } = await setUp(t, {
      onCommand: (name, message) => {
        if (name === 'a') return { replace: [{ ...message, execute: 'b' }] };
        if (name === 'c') return { answer: { error: { class: 'GenericError', desc: 'injected' } } };
        return 'pass';
      },
    });
    assert.equal(await client.execute('a'), 'b');
    await assert.rejects(client.execute('c'), /injected/);
    assert.deepEqual(
      peer.received.map(({ execute }) => execute),
      ['qmp_capabilities', 'b'],
    );
  });

  it('knows which command a reply answers, and swallows, changes or repeats it', async (t) => {
    const { client } = await setUp(t, {
      onReply: (command, message) => {
        if (command === 'a') return { replace: [{ ...message, return: 'changed' }, message] };
        return command === 'b' ? 'swallow' : 'pass';
      },
    });
    const abort = new AbortController();
    const swallowed = assert.rejects(client.execute('b', {}, { signal: abort.signal }));
    assert.equal(await client.execute('a'), 'changed');
    assert.equal(await client.execute('c'), 'c');
    abort.abort();
    await swallowed;
  });

  it('holds one message while later ones overtake it', async (t) => {
    const gate = Promise.withResolvers<void>();
    const { client } = await setUp(t, {
      onReply: (command) => (command === 'a' ? { hold: gate.promise } : 'pass'),
    });
    const order: string[] = [];
    const held = client.execute('a').then(() => order.push('a'));
    await client.execute('b').then(() => order.push('b'));
    gate.resolve();
    await held;
    assert.deepEqual(order, ['b', 'a']);
  });

  it('swallows and injects events', async (t) => {
    const { peer, proxy, client } = await setUp(t, {
      onEvent: (name) => (name === 'REAL' ? 'swallow' : 'pass'),
    });
    const seen: string[] = [];
    client.on('*', ({ name }) => seen.push(name));
    peer.event('REAL');
    await client.execute('a');
    const injected = client.waitFor('FALSE', { signal: soon() });
    proxy.injectEvent('FALSE', { device: 'net0' });
    const event = await injected.promise;
    assert.deepEqual(event.data, { device: 'net0' });
    assert.ok(event.qemuTimeMs !== undefined);
    assert.deepEqual(seen, ['FALSE']);
  });

  it('sends a command behind the client’s back', async (t) => {
    const { peer, proxy, client } = await setUp(t);
    const arrived = peer.next('stop');
    proxy.injectCommand('stop');
    await arrived;
    assert.equal(await client.execute('a'), 'a');
  });

  it('injects garbage', async (t) => {
    const { proxy, client } = await setUp(t);
    proxy.injectRaw('garbage\n');
    assert.ok(isClosed(await client.closed));
  });

  it('cuts the connection both ways and serves the next client', async (t) => {
    const { peer, proxy, client } = await setUp(t);
    proxy.hangUp();
    assert.ok(isClosed(await client.closed));
    await client.reconnect({ signal: soon() });
    assert.equal(await client.execute('a'), 'a');
    assert.equal(peer.clients, 2);
  });

  it('passes the peer’s end on, after its last words', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('quit', (_, io) => {
      io.reply();
      io.event('SHUTDOWN', { words: 'x'.repeat(2_000_000) }); // more than a socket buffer holds
      io.hangUp();
    });
    const shutdown = client.waitFor('SHUTDOWN', { signal: soon() });
    await client.execute('quit');
    await shutdown.promise;
    assert.ok(isClosed(await client.closed));
  });

  it('makes a client wait for the peer’s socket, and closes without waiting for it', async (t) => {
    const peer = await FakeQmpPeer.start();
    t.after(() => peer.close());
    const proxy = await QmpProxy.start({ listen: `${peer.path}.proxy`, upstream: `${peer.path}.later` });
    const connecting = QmpClient.connect({ path: proxy.path, name: 'early', signal: soon() });
    const later = await FakeQmpPeer.start({ path: `${peer.path}.later` });
    t.after(() => later.close());
    await (await connecting).close();
    await later.close();
    const hopeless = QmpClient.connect({ path: proxy.path, name: 'hopeless', signal: soon(50) });
    await assert.rejects(hopeless);
    await proxy.close();
  });
});
