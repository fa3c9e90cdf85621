import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { QmpClient } from './client.ts';
import { FakeQmpPeer } from './fake-peer.ts';
import { unplugDevice } from './unplug.ts';

const soon = (ms = 5000) => deadline('a test', ms);
const DELETED = 'DEVICE_DELETED';
const GUEST_ERROR = 'DEVICE_UNPLUG_GUEST_ERROR';

async function setUp(t: TestContext) {
  const peer = await FakeQmpPeer.start();
  t.after(() => peer.close());
  const client = await QmpClient.connect({ path: peer.path, name: 'fake', signal: soon() });
  t.after(() => client.close());
  peer.answer('qom-list', [{ name: 'type', type: 'string' }]);
  return { peer, client };
}

function hasCode(code: string) {
  return (error: unknown) => error instanceof ShadowferryError && error.code === code;
}

describe('unplugDevice', () => {
  it('resolves when the device is deleted, not when the request is accepted', async (t) => {
    const { peer, client } = await setUp(t);
    peer.answer('device_del', {});
    const asked = peer.next('device_del');
    let done = false;
    const unplugging = unplugDevice(client, { id: 'net0', signal: soon() }).finally(() => {
      done = true;
    });
    assert.deepEqual((await asked).arguments, { id: 'net0' });
    peer.event(DELETED, { path: '/machine/peripheral/net0/child' });
    peer.event(DELETED, { device: 'net1', path: '/machine/peripheral/net1' });
    await assert.rejects(client.execute('sync'), hasCode('QMP_REFUSED'));
    assert.equal(done, false);
    peer.event(DELETED, { device: 'net0', path: '/machine/peripheral/net0' });
    const { ms, alreadyGone } = await unplugging;
    assert.ok(ms >= 0 && ms < 5000);
    assert.equal(alreadyGone, false);
  });

  it('hears an event that outruns the reply, or whose reply never comes', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => io.event(DELETED, { device: 'net0', path: '/x' }));
    await unplugDevice(client, { id: 'net0', signal: soon() });
  });

  it('fails when the guest refuses this device, and only this one', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => {
      io.reply();
      io.event(GUEST_ERROR, { device: 'net1', path: '/machine/peripheral/net1' });
      io.event(GUEST_ERROR, { path: '/machine/peripheral/net0' });
    });
    await assert.rejects(
      unplugDevice(client, { id: 'net0', signal: soon() }),
      (error) => hasCode('GUEST_REFUSED_UNPLUG')(error) && /net0/.test(String(error)),
    );
  });

  it('understands the refusal of an older QEMU', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => {
      io.reply();
      io.event('MEM_UNPLUG_ERROR', { device: 'dimm0', msg: 'no' });
    });
    await assert.rejects(
      unplugDevice(client, { id: 'dimm0', signal: soon() }),
      hasCode('GUEST_REFUSED_UNPLUG'),
    );
  });

  it('ends at the one deadline when the guest does nothing, and says how long it was asked', async (t) => {
    const { peer, client } = await setUp(t);
    peer.answer('device_del', {});
    await assert.rejects(unplugDevice(client, { id: 'net0', signal: soon(40) }), (error) => {
      assert.ok(error instanceof ShadowferryError && error.code === 'UNPLUG_IGNORED');
      assert.equal(error.params.device, 'net0');
      assert.ok(Number(error.params.ms) >= 35);
      return true;
    });
    assert.equal(peer.received.filter(({ execute }) => execute === 'device_del').length, 1);
  });

  it('ends at the deadline when not even QEMU answers', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', () => {});
    await assert.rejects(unplugDevice(client, { id: 'net0', signal: soon(40) }), hasCode('UNPLUG_IGNORED'));
  });

  it('passes a cancellation on as it is', async (t) => {
    const { peer, client } = await setUp(t);
    peer.answer('device_del', {});
    const abort = new AbortController();
    const asked = peer.next('device_del');
    const unplugging = unplugDevice(client, { id: 'net0', signal: abort.signal });
    const cancelled = assert.rejects(unplugging, hasCode('CANCELLED'));
    await asked;
    abort.abort(new ShadowferryError('CANCELLED', { phase: 'detach' }));
    await cancelled;
  });

  it('waits on when an earlier request is still under way', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => io.refuse('Device net0 is already in the process of unplug'));
    const unplugging = unplugDevice(client, { id: 'net0', signal: soon() });
    await assert.rejects(client.execute('sync'), hasCode('QMP_REFUSED'));
    peer.event(DELETED, { device: 'net0', path: '/machine/peripheral/net0' });
    assert.equal((await unplugging).alreadyGone, false);
    assert.equal(peer.received.filter(({ execute }) => execute === 'device_del').length, 1);
  });

  it('asks a busy guest again', async (t) => {
    const { peer, client } = await setUp(t);
    let requests = 0;
    peer.handle('device_del', (_, io) => {
      requests += 1;
      if (requests < 3) io.refuse('Hot-unplug failed: guest is busy (power indicator blinking)');
      else {
        io.reply();
        io.event(DELETED, { device: 'net0', path: '/machine/peripheral/net0' });
      }
    });
    await unplugDevice(client, { id: 'net0', signal: soon() });
    assert.equal(requests, 3);
  });

  it('stops asking a busy guest at the deadline', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => io.refuse('guest is busy'));
    await assert.rejects(unplugDevice(client, { id: 'net0', signal: soon(40) }), hasCode('UNPLUG_IGNORED'));
  });

  it('takes a device that QEMU does not know as gone, once the device tree says so too', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => io.refuse("Device 'net0' not found", 'DeviceNotFound'));
    const { alreadyGone } = await unplugDevice(client, { id: 'net0', signal: soon() });
    assert.equal(alreadyGone, true);
    assert.deepEqual(peer.received.at(-1)?.arguments, { path: '/machine/peripheral' });
    peer.answer('qom-list', [{ name: 'net0', type: 'child<e1000e>' }]);
    await assert.rejects(unplugDevice(client, { id: 'net0', signal: soon() }), hasCode('QMP_REFUSED'));
  });

  it('fails at once when QEMU cannot unplug the device at all', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => io.refuse("Bus 'pcie.0' does not support hotplugging"));
    await assert.rejects(unplugDevice(client, { id: 'net0', signal: soon() }), hasCode('QMP_REFUSED'));
  });

  it('fails when the connection is lost, instead of waiting for an event that cannot come', async (t) => {
    const { peer, client } = await setUp(t);
    peer.handle('device_del', (_, io) => {
      io.reply();
      io.hangUp();
    });
    await assert.rejects(unplugDevice(client, { id: 'net0', signal: soon() }), hasCode('QMP_CLOSED'));
  });
});
