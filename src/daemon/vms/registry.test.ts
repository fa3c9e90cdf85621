/** The registry with QEMUs that are processes, and answer, and run no guest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { signalProcess } from '../../base/process.ts';
import { bootVm, disconnectVm, findVm } from '../../migration/vm.ts';
import type { VmState } from './connection.ts';
import { makeBench, specOf } from './fixture.test-data.ts';
import type { VmRegistry } from './registry.ts';

const soon = () => deadline('the test', 20_000);

/** Waits until a VM is in a state; asks often, as states come by themselves. */
async function becomes(registry: VmRegistry, name: string, state: VmState): Promise<void> {
  const signal = soon();
  while (registry.get(name).state !== state) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('what came by a migration is known, and found again by the next daemon', async (t) => {
  const bench = makeBench(t);
  const first = await bench.registry();
  const vm = await bootVm(bench.host, specOf('web1'), bench.ownership, soon());
  first.arrived(vm, { vm: 'web1', owner: 'alpha', epoch: 1 });
  const { pid } = vm.qemu.identity;
  assert.deepEqual(
    first.list().map(({ name, state, pid, epoch }) => ({ name, state, pid, epoch })),
    [{ name: 'web1', state: 'running', pid, epoch: 1 }],
  );
  const second = await bench.registry();
  const entry = second.get('web1');
  assert.deepEqual([entry.state, entry.pid, entry.epoch], ['running', pid, 1]);
  assert.equal(entry.spec.machine, 'pc-q35-7.2');
});

test('who works with a VM keeps others away, by name of what is done', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.arrived(await bootVm(bench.host, specOf('web1'), bench.ownership, soon()));
  const { promise, resolve } = Promise.withResolvers<void>();
  const held = registry.hold('web1', 'migration 7f3a to beta', async (vm) => {
    await promise;
    return vm.qemu.spec.name;
  });
  await assert.rejects(
    registry.hold('web1', 'swap', async () => {}),
    { code: 'VM_BUSY', message: /migration 7f3a to beta/ },
  );
  await assert.rejects(
    registry.borrow('web1', 'recovery', async () => {}),
    { code: 'VM_BUSY' },
  );
  resolve();
  assert.equal(await held, 'web1');
  assert.equal(await registry.hold('web1', 'swap', async () => 'free again'), 'free again');
  await assert.rejects(
    registry.hold('web2', 'swap', async () => {}),
    { code: 'UNKNOWN_VM' },
  );
});

test('a VM whose QEMU ends is stopped, and its taps and devices are free', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  const vm = await bootVm(bench.host, specOf('web1'), bench.ownership, soon());
  registry.arrived(vm);
  assert.equal(bench.taps.size, 2);
  assert.equal((await bench.ownership.claims('alpha')).length, 1);
  signalProcess(vm.qemu.identity, 'SIGKILL');
  await becomes(registry, 'web1', 'stopped');
  assert.match(registry.get('web1').why ?? '', /QEMU ended/);
  const signal = soon();
  while ((await bench.ownership.claims('alpha')).length > 0 || bench.taps.size > 0) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await assert.rejects(
    registry.hold('web1', 'swap', async () => {}),
    { code: 'VM_STATE', message: /is stopped/ },
  );
});

test('a VM that came while the disk is full runs here for all who ask, and is written when it is said again', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  const vm = await bootVm(bench.host, specOf('web1'), bench.ownership, soon());
  const save = t.mock.method(registry.definitions, 'save', () => {
    throw new Error('database or disk is full');
  });
  assert.throws(() => registry.arrived(vm), /full/);
  assert.equal(registry.get('web1').state, 'running');
  assert.deepEqual(
    registry.definitions.all(() => {}),
    [],
  );
  save.mock.restore();
  registry.arrived(vm);
  assert.equal(registry.definitions.all(() => {}).length, 1);
});

test('what a migration made of a VM that ended is left to the migration', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry({ migrating: () => true });
  const vm = await bootVm(bench.host, specOf('web1'), bench.ownership, soon());
  registry.arrived(vm);
  signalProcess(vm.qemu.identity, 'SIGKILL');
  await becomes(registry, 'web1', 'stopped');
  assert.equal(bench.taps.size, 2);
  assert.equal((await bench.ownership.claims('alpha')).length, 1);
});

test('after a start, one that runs against its record is paused and told; others run on', async (t) => {
  const bench = makeBench(t);
  const first = await bench.registry();
  for (const name of ['web1', 'web2']) {
    const nics = name === 'web1' ? {} : { nics: [] };
    first.arrived(await bootVm(bench.host, specOf(name, nics), bench.ownership, soon()));
  }
  await bench.ownership.handOver({ vm: 'web1', owner: 'alpha', epoch: 1 }, 'beta');
  const second = await bench.registry();
  assert.equal(second.get('web1').state, 'paused');
  assert.match(second.get('web1').why ?? '', /host "beta" owns it \(epoch 2\), so it was paused here/);
  assert.equal(second.get('web2').state, 'running');
  assert.ok(bench.told.includes('vm.state web1 paused'));
});

test('without the store VMs run on, and it is asked again', async (t) => {
  const bench = makeBench(t);
  const first = await bench.registry();
  first.arrived(await bootVm(bench.host, specOf('web1'), bench.ownership, soon()));
  const list = bench.ownership.list.bind(bench.ownership);
  bench.ownership.list = () => Promise.reject(new Error('nobody answers'));
  const second = await bench.registry({ againMs: 30 });
  assert.equal(second.get('web1').state, 'running');
  assert.match(second.get('web1').why ?? '', /not known, as the store cannot be asked: nobody answers/);
  bench.ownership.list = list;
  const signal = soon();
  while (second.get('web1').why !== undefined) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(second.get('web1').epoch, 1);
});

test('a VM that left is gone, also when nobody could write that down', async (t) => {
  const bench = makeBench(t);
  const first = await bench.registry();
  for (const name of ['web1', 'web2']) first.define({ spec: specOf(name), origin: 'defined', adopted: null });
  await bench.ownership.register('web2', 'beta');
  first.left('web1', 'it was migrated to beta');
  const second = await bench.registry();
  assert.deepEqual(
    second.list().map(({ name, state, why }) => [name, state, why]),
    [
      ['web1', 'gone', 'it was migrated to beta'],
      ['web2', 'gone', 'host "beta" owns it (epoch 1)'],
    ],
  );
});

test('who borrows a VM finds it by itself, and what became of it is seen afterwards', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  const vm = await bootVm(bench.host, specOf('web1'), bench.ownership, soon());
  registry.arrived(vm);
  await registry.borrow('web1', 'recovery', async () => {
    // a second connection would wait for ever
    const own = await findVm(bench.host, 'web1', soon());
    await own.qemu.monitor.execute('stop');
    await disconnectVm(own);
    await bench.ownership.handOver({ vm: 'web1', owner: 'alpha', epoch: 1 }, 'beta');
    signalProcess(vm.qemu.identity, 'SIGKILL');
  });
  await becomes(registry, 'web1', 'gone');
  // and it came back, as its record says
  await bench.ownership.handOver({ vm: 'web1', owner: 'beta', epoch: 2 }, 'alpha');
  await registry.borrow('web1', 'recovery', async () => {});
  assert.deepEqual([registry.get('web1').state, registry.get('web1').epoch], ['stopped', 3]);
});

test('a VM on its way has its name taken, and is nothing any more when it does not come', async (t) => {
  const bench = makeBench(t);
  const registry = await bench.registry();
  registry.incoming(specOf('web1'));
  assert.equal(registry.get('web1').state, 'incoming');
  registry.notComing('web1');
  assert.deepEqual(registry.list(), []);
  registry.define({ spec: specOf('web2'), origin: 'defined', adopted: null });
  registry.left('web2');
  registry.incoming(specOf('web2', { memoryMiB: 128 }));
  registry.notComing('web2');
  assert.deepEqual([registry.get('web2').state, registry.get('web2').spec.memoryMiB], ['gone', 64]);
});

test('a start does not wait long for a store that says nothing; what it says later holds', async (t) => {
  const bench = makeBench(t);
  const first = await bench.registry();
  const vm = await bootVm(bench.host, specOf('web1'), bench.ownership, soon());
  first.arrived(vm, { vm: 'web1', owner: 'alpha', epoch: 1 });
  await bench.ownership.handOver({ vm: 'web1', owner: 'alpha', epoch: 1 }, 'beta');
  const { list } = bench.ownership;
  bench.ownership.list = (signal) => {
    bench.ownership.list = list;
    const { promise, reject } = Promise.withResolvers<never>();
    signal?.addEventListener('abort', () => reject(signal.reason));
    return promise;
  };
  const began = performance.now();
  const second = await bench.registry({ againMs: 20 });
  const tookMs = performance.now() - began;
  assert.equal(second.get('web1').state, 'running');
  await becomes(second, 'web1', 'paused');
  // the store's own limit is five seconds, and finding one VM takes next to nothing of that
  assert.ok(tookMs < 4_000, `${tookMs} ms`);
});
