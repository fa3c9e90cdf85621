import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { QmpClient } from './client.ts';
import { FakeQmpPeer } from './fake-peer.ts';

const soon = (ms = 5000) => deadline('a test', ms);

async function setUp(t: TestContext) {
  const peer = await FakeQmpPeer.start();
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

describe('events', () => {
  it('hears an event that comes before the reply of the command that caused it', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('stop', (_, io) => {
      io.event('STOP');
      io.reply();
    });
    using waiter = client.waitFor('STOP', { signal: soon() });
    await client.execute('stop');
    assert.equal((await waiter.promise).name, 'STOP');
  });

  it('takes the first event that matches: by name, by names, by test', async (t) => {
    const { peer, client } = await setUp(t);
    const byName = client.waitFor('B');
    const byNames = client.waitFor(['C', 'B']);
    const byTest = client.waitFor(({ data }) => data.n === 3);
    peer.event('A', { n: 1 });
    peer.event('B', { n: 2 });
    peer.event('B', { n: 3 });
    const events = await Promise.all([byName.promise, byNames.promise, byTest.promise]);
    assert.deepEqual(
      events.map(({ data }) => data.n),
      [2, 2, 3],
    );
  });

  it('tells QEMU’s time and its own, on clocks that can be compared', async (t) => {
    const { peer, client } = await setUp(t);
    const waiter = client.waitFor('STOP');
    const before = Date.now();
    peer.raw('{"timestamp":{"seconds":5,"microseconds":250000},"event":"STOP"}\r\n');
    const event = await waiter.promise;
    assert.equal(event.qemuTimeMs, 5250);
    assert.ok(Math.abs(event.arrivedMs - before) < 5000);
  });

  it('rejects a waiter with its signal’s reason, also when that came first', async (t) => {
    const { client } = await setUp(t);
    await assert.rejects(client.waitFor('X', { signal: soon(10) }).promise, hasCode('DEADLINE'));
    const aborted = AbortSignal.abort(new Error('before'));
    await assert.rejects(client.waitFor('X', { signal: aborted }).promise, /before/);
  });

  it('never raises an unhandled rejection for a waiter nobody awaits', async (t) => {
    const { client } = await setUp(t);
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    t.after(() => process.off('unhandledRejection', note));
    client.waitFor('X', { signal: AbortSignal.abort() });
    client.waitFor('X').dispose();
    client.waitFor('X', { signal: soon(1) });
    client.waitFor(() => false);
    await client.close();
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(unhandled, []);
  });

  it('rejects a disposed waiter for those who await it, and leaves a resolved one alone', async (t) => {
    const { peer, client } = await setUp(t);
    const done = client.waitFor('A');
    const dropped = client.waitFor('NEVER');
    peer.event('A');
    await done.promise;
    done.dispose();
    dropped.dispose();
    assert.equal((await done.promise).name, 'A');
    await assert.rejects(dropped.promise, hasCode('INTERNAL', /disposed/));
  });

  it('rejects waiters when the connection is lost', async (t) => {
    const { peer, client } = await setUp(t);
    const waiter = client.waitFor('X');
    peer.hangUp();
    await assert.rejects(waiter.promise, hasCode('QMP_CLOSED'));
    await assert.rejects(client.waitFor('X').promise, hasCode('QMP_CLOSED'));
  });

  it('calls listeners in order until they stop, over a reconnect too', async (t) => {
    const { peer, client } = await setUp(t);
    const seen: string[] = [];
    const stop = client.on('A', ({ name }) => seen.push(name));
    client.on('*', ({ name }) => seen.push(`*${name}`));
    peer.event('A');
    await settle(client);
    await client.reconnect({ signal: soon() });
    peer.event('B');
    peer.event('A');
    await settle(client);
    stop();
    peer.event('A');
    await settle(client);
    assert.deepEqual(seen, ['A', '*A', '*B', 'A', '*A', '*A']);
  });

  it('shields the others from a listener or test that throws', async (t) => {
    const { peer, client } = await setUp(t);
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    client.on('A', () => {
      throw new Error('a defect');
    });
    const broken = client.waitFor(() => {
      throw new Error('a broken test');
    });
    const seen: string[] = [];
    client.on('A', ({ name }) => seen.push(name));
    peer.event('A');
    await settle(client);
    assert.deepEqual(seen, ['A']);
    assert.match((await warned).message, /a defect/);
    await assert.rejects(broken.promise, /a broken test/);
  });

  it('lets a listener close the client', async (t) => {
    const { peer, client } = await setUp(t);
    const seen: string[] = [];
    client.on('*', ({ name }) => seen.push(name));
    const closing = new Promise<void>((resolve) => {
      client.on('A', () => resolve(client.close()));
    });
    peer.raw('{"event":"A"}\r\n{"event":"B"}\r\n');
    await closing;
    assert.deepEqual(seen, ['A']);
    assert.equal(await client.closed, undefined);
  });
});
