import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { QmpClient } from './client.ts';
import * as commands from './commands.ts';
import { QmpProxy } from './proxy.ts';
import { unplugDevice } from './unplug.ts';

const QEMU = 'qemu-system-x86_64';
const skip =
  spawnSync(QEMU, ['--version']).error === undefined ? false : `${QEMU} is missing on this machine`;

const soon = (ms = 20_000) => deadline('a test', ms);

/** Starts a QEMU that runs no guest code (-S) and connects to it. */
async function setUp(t: TestContext, machine: string[]) {
  const directory = await mkdtemp(join(tmpdir(), 'qmp-real-'));
  const path = join(directory, 'qmp');
  const base = ['-accel', 'tcg', '-nodefaults', '-display', 'none', '-S'];
  const child = spawn(QEMU, [...base, ...machine, '-qmp', `unix:${path},server=on,wait=off`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const died = exited.then((code) => Promise.reject(new Error(`QEMU ended with ${code}: ${stderr}`)));
  died.catch(() => {});
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
    await rm(directory, { recursive: true });
  });
  const connecting = QmpClient.connect({ path, name: 'real QEMU', signal: soon() });
  const client = await Promise.race([connecting, died]);
  t.after(() => client.close());
  return { client, path, directory, exited };
}

const PCI_MACHINE = ['-M', 'q35', '-m', '16', '-device', 'pcie-root-port,id=rp1,chassis=1'];

describe('a real QEMU', { skip }, () => {
  it('answers, refuses, and says goodbye', async (t) => {
    const { client, exited } = await setUp(t, ['-M', 'none']);
    assert.ok(client.version.major >= 7);
    assert.deepEqual(await commands.queryStatus(client), { status: 'prelaunch', running: false });
    const names = (await commands.qomList(client, '/machine')).map(({ name }) => name);
    assert.ok(names.includes('peripheral'));
    await assert.rejects(client.execute('no-such-command'), (error) => {
      assert.ok(error instanceof ShadowferryError && error.code === 'QMP_REFUSED');
      assert.equal(error.params.class, 'CommandNotFound');
      return true;
    });
    using shutdown = client.waitFor('SHUTDOWN', { signal: soon() });
    await commands.quit(client);
    const event = await shutdown.promise;
    assert.ok(event.qemuTimeMs !== undefined && Math.abs(event.arrivedMs - event.qemuTimeMs) < 5000);
    assert.equal(await exited, 0);
    assert.ok((await client.closed) instanceof ShadowferryError);
  });

  it('greets one client at a time, and a reconnect frees the place first', async (t) => {
    const { client, path } = await setUp(t, ['-M', 'none']);
    await assert.rejects(QmpClient.connect({ path, name: 'second', signal: soon(100) }));
    await client.reconnect({ signal: soon() });
    await client.reconnect({ signal: soon() });
    const replies = await Promise.all(Array.from({ length: 20 }, () => commands.queryStatus(client)));
    assert.equal(replies.length, 20);
  });

  it('unplugs: waits for the guest, knows a request under way, a device that is gone, one that cannot go', async (t) => {
    const { client } = await setUp(t, [...PCI_MACHINE, '-device', 'e1000e,id=fixed,bus=pcie.0,addr=5']);
    await commands.deviceAdd(client, { driver: 'e1000e', id: 'net0', bus: 'rp1', mac: '52:54:00:00:00:01' });
    // No guest runs, so nobody releases the device; the second call meets a request under way.
    for (const _ of [1, 2]) {
      await assert.rejects(
        unplugDevice(client, { id: 'net0', signal: soon(200) }),
        (error) => error instanceof ShadowferryError && error.code === 'UNPLUG_IGNORED',
      );
    }
    // A reset ends what the guest does not.
    const unplugging = unplugDevice(client, { id: 'net0', signal: soon() });
    await client.execute('system_reset');
    assert.equal((await unplugging).alreadyGone, false);
    assert.equal((await unplugDevice(client, { id: 'net0', signal: soon() })).alreadyGone, true);
    await assert.rejects(
      unplugDevice(client, { id: 'fixed', signal: soon() }),
      (error) => error instanceof ShadowferryError && error.code === 'QMP_REFUSED',
    );
  });

  it('reports a migration in the shape that is read', async (t) => {
    const { client } = await setUp(t, PCI_MACHINE);
    assert.equal((await commands.queryMigrate(client)).status, 'none');
    assert.ok((await commands.queryMigrateCapabilities(client)).has('postcopy-ram'));
    await commands.migrateSetCapabilities(client, { events: true });
    await commands.migrateSetParameters(client, { 'downtime-limit': 50 });
    using completed = client.waitFor(
      ({ name, data }) => name === 'MIGRATION' && ['completed', 'failed'].includes(String(data.status)),
      { signal: soon() },
    );
    await commands.migrate(client, 'exec:cat >/dev/null');
    assert.equal((await completed.promise).data.status, 'completed');
    const info = await commands.queryMigrate(client);
    assert.equal(info.status, 'completed');
    assert.ok((info.ram?.transferred ?? 0) > 0);
    assert.equal(info.ram?.remaining, 0);
    assert.equal(info.ram?.['page-size'], 4096);
    assert.ok(typeof info['total-time'] === 'number' && typeof info.downtime === 'number');
    assert.ok(typeof info['setup-time'] === 'number');
  });

  it('takes every command in the shape that is sent', async (t) => {
    const { client } = await setUp(t, PCI_MACHINE);
    await commands.netdevAdd(client, { type: 'user', id: 'back0' });
    await commands.deviceAdd(client, { driver: 'virtio-net-pci', id: 'net0', bus: 'rp1', netdev: 'back0' });
    await commands.setLink(client, 'net0', false);
    await commands.setLink(client, 'net0', true);
    await commands.announceSelf(client, { rounds: 1, interfaces: ['net0'] });
    using resumed = client.waitFor('RESUME', { signal: soon() });
    await commands.cont(client);
    await resumed.promise;
    await commands.stop(client);
    assert.equal((await commands.queryStatus(client)).status, 'paused');
    await commands.netdevAdd(client, { type: 'user', id: 'back1' });
    await commands.netdevDel(client, 'back1');
    await commands.deviceDel(client, 'net0');
    await commands.migrateCancel(client);
    await assert.rejects(commands.migrateContinue(client), /not in expected state/);
    await assert.rejects(commands.migrateStartPostcopy(client), /postcopy/i);
    await assert.rejects(commands.migrateIncoming(client, 'tcp:127.0.0.1:0'), /incoming/);
  });

  it('can be lied about by a proxy', async (t) => {
    const { client, path, directory } = await setUp(t, ['-M', 'none']);
    await client.close(); // one client per monitor
    const proxy = await QmpProxy.start({ listen: join(directory, 'proxy'), upstream: path });
    t.after(() => proxy.close());
    const through = await QmpClient.connect({ path: proxy.path, name: 'proxied QEMU', signal: soon() });
    t.after(() => through.close());
    proxy.hooks = {
      onReply: (_, message) => ({ replace: [{ ...message, return: { status: 'x', running: true } }] }),
    };
    assert.deepEqual(await commands.queryStatus(through), { status: 'x', running: true });
    proxy.hooks = { onEvent: (name) => (name === 'SHUTDOWN' ? 'swallow' : 'pass') };
    const seen: string[] = [];
    through.on('*', ({ name }) => seen.push(name));
    await commands.quit(through);
    await through.closed;
    assert.deepEqual(seen, []);
  });
});
