/** Starting and ending VMs against the record, with QEMUs that are processes and run no guest. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { makeBench, specOf } from './fixture.test-data.ts';
import { forgetVm, pauseVm, resumeVm, startVm, stopVm } from './life.ts';

const defined = (name: string, changes = {}) => ({
  spec: specOf(name, changes),
  origin: 'defined' as const,
  adopted: null,
});

test('a VM is registered and its device claimed before it runs; stopped, it gives back what it had', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.define(defined('web1'));
  const { reason } = await startVm(registry, 'web1');
  assert.match(reason, /host "alpha" owns the VM \(epoch 1\)/);
  const entry = registry.get('web1');
  assert.deepEqual([entry.state, entry.epoch, entry.spec.machine], ['running', 1, 'pc-q35-7.2']);
  assert.deepEqual(
    (await bench.ownership.claims('alpha')).map(({ device, vm }) => [device, vm]),
    [['nic0', 'web1']],
  );
  await assert.rejects(startVm(registry, 'web1'), { code: 'VM_STATE', message: /is running/ });
  assert.equal((await stopVm(registry, 'web1', { force: true, waitMs: 10 })).how, 'forced');
  assert.equal(registry.get('web1').state, 'stopped');
  assert.deepEqual([await bench.ownership.claims('alpha'), bench.taps.size], [[], 0]);
  assert.equal(existsSync(bench.host.vmDirectory('web1')), false);
  assert.equal((await bench.ownership.read('web1'))?.owner, 'alpha');
  await startVm(registry, 'web1');
  assert.equal(registry.get('web1').state, 'running');
});

test('the guest is asked by its agent, then by ACPI; one that does not shut down in time is ended', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.define(defined('web1'));
  const stopped = async (obeys: string, waitMs: number) => {
    bench.obey(obeys);
    await startVm(registry, 'web1');
    return stopVm(registry, 'web1', { force: false, waitMs });
  };
  assert.deepEqual(await stopped('agent', 20_000), { how: 'agent', why: 'its agent took it' });
  assert.equal(registry.get('web1').why, 'the guest shut down');
  const acpi = await stopped('acpi', 2_000);
  assert.equal(acpi.how, 'acpi');
  assert.match(acpi.why, /agent.*guest-ping/i);
  const forced = await stopped('', 50);
  assert.equal(forced.how, 'forced');
  assert.match(forced.why, /did not shut down/);
  const again = await stopVm(registry, 'web1', { force: false, waitMs: 50 });
  assert.equal(again.how, 'was-not-running');
});

test('a guest whose vCPUs stand still is not waited for', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.define(defined('web1'));
  await startVm(registry, 'web1');
  await pauseVm(registry, 'web1');
  const { how, why } = await stopVm(registry, 'web1', { force: false, waitMs: 600_000 });
  assert.equal(how, 'forced');
  assert.match(why, /stand still/);
});

test('nothing starts or resumes against the record, and nothing is left of the try', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.define(defined('web1'));
  await bench.ownership.register('web1', 'beta');
  await assert.rejects(startVm(registry, 'web1'), {
    code: 'START_REFUSED',
    message: /host "beta" owns the VM \(epoch 1\)/,
  });
  assert.deepEqual([await bench.ownership.claims('alpha'), bench.taps.size], [[], 0]);
  registry.define(defined('web2'));
  await startVm(registry, 'web2');
  await pauseVm(registry, 'web2');
  await bench.ownership.handOver({ vm: 'web2', owner: 'alpha', epoch: 1 }, 'beta');
  await assert.rejects(resumeVm(registry, 'web2'), { code: 'START_REFUSED' });
  assert.equal(registry.get('web2').state, 'paused');
});

test('an override holds where the store cannot be asked, and is written down first', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.define(defined('web1'));
  const unreachable = () => Promise.reject(new Error('nobody answers'));
  const { read, register } = bench.ownership;
  Object.assign(bench.ownership, { read: unreachable, register: unreachable, claimDevice: unreachable });
  await assert.rejects(startVm(registry, 'web1'), /nobody answers/);
  const audit = async (note: Parameters<typeof registry.definitions.writeOverride>[0]) =>
    registry.definitions.writeOverride(note);
  await startVm(registry, 'web1', { by: 'erika', why: 'beta is switched off', audit });
  assert.equal(registry.get('web1').state, 'running');
  const [kept] = registry.definitions.overrides(10);
  assert.deepEqual([kept?.vm, kept?.by, kept?.why], ['web1', 'erika', 'beta is switched off']);
  Object.assign(bench.ownership, { read, register });
});

test('a device of another VM, or none of this host, is refused before anything is made', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.define(defined('web1'));
  registry.define(defined('web2'));
  await startVm(registry, 'web1');
  const taps = bench.taps.size;
  await assert.rejects(startVm(registry, 'web2'), { code: 'DEVICE_CLAIMED_TWICE' });
  assert.equal(bench.taps.size, taps);
  const nics = [{ id: 'net0', mac: '52:54:00:00:00:01', direct: { device: 'nic9', model: 'e1000e' } }];
  registry.define(defined('web3', { nics }));
  await assert.rejects(startVm(registry, 'web3'), { code: 'UNKNOWN_DEVICE' });
});

test('only one that does not run is forgotten, with its record where that names this host', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.define(defined('web1'));
  await startVm(registry, 'web1');
  await assert.rejects(forgetVm(registry, 'web1'), { code: 'VM_STATE' });
  await stopVm(registry, 'web1', { force: true, waitMs: 10 });
  assert.equal((await forgetVm(registry, 'web1')).record, 'forgotten');
  assert.equal(await bench.ownership.read('web1'), undefined);
  registry.define(defined('web2'));
  await bench.ownership.register('web2', 'beta');
  assert.equal((await forgetVm(registry, 'web2')).record, 'kept');
  assert.deepEqual(registry.list(), []);
});

test('a QEMU that does not answer is ended only by force', async (t) => {
  const bench = makeBench(t);
  const first = await bench.registry();
  first.define(defined('web1'));
  await startVm(first, 'web1');
  const { pid } = first.get('web1');
  assert.ok(pid !== null);
  await first.close();
  process.kill(pid, 'SIGSTOP');
  const second = await bench.registry({ connectMs: 50 });
  assert.match(second.get('web1').why ?? '', /cannot be connected to/);
  await assert.rejects(stopVm(second, 'web1', { force: false, waitMs: 50 }), { code: 'VM_STATE' });
  assert.equal((await stopVm(second, 'web1', { force: true, waitMs: 50 })).how, 'forced');
  assert.equal(second.get('web1').state, 'stopped');
});
