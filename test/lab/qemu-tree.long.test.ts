/** QEMUs of other versions than the machine's: got from Debian, and really running from their tree. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { probeQemu } from '../../src/hypervisor/qemu/capabilities.ts';
import { Lab } from '../../src/lab/lab.ts';
import { ensureQemuTree, QEMU_TREES, type QemuTreeName } from '../../src/lab/qemu-tree/tree.ts';
import { CACHE, inGuest, moveOver } from './migrating.ts';

const NAMES = Object.keys(QEMU_TREES).filter((name): name is QemuTreeName => name in QEMU_TREES);

for (const name of NAMES) {
  test(`QEMU ${name} runs from a tree of its own, with its own modules`, { timeout: 600_000 }, async () => {
    const { binary, version } = await ensureQemuTree(name, { cacheDir: CACHE, log: () => {} });
    const can = await probeQemu(binary, { signal: AbortSignal.timeout(60_000) });
    assert.equal(String(can.version.major), name);
    assert.match(can.version.package, new RegExp(version.replaceAll(/[.+]/g, '\\$&')));
    assert.ok(can.netModels.some((model) => model.name === 'igb'));
    assert.ok(can.migrationCapabilities.includes('switchover-ack'));
  });
}

test('a VM goes from QEMU 10 to 11', {
  timeout: 600_000,
}, async () => {
  const [ten, eleven] = await Promise.all(
    (['10', '11'] as const).map((name) => ensureQemuTree(name, { cacheDir: CACHE, log: () => {} })),
  );
  assert.ok(ten !== undefined && eleven !== undefined);
  await using lab = await Lab.create({
    cacheDir: CACHE,
    devices: { a: ['e1000e'], b: ['e1000e'] },
    log: () => {},
    qemu: {
      a: { binary: ten.binary, accelerator: 'tcg' },
      b: { binary: eleven.binary, accelerator: 'tcg' },
    },
  });
  const vm = await lab.boot({ machine: 'pc-q35-7.2' });
  const moved = await moveOver(lab, vm, { continuity: 'bridge' });
  assert.equal(moved.result.strategy, 'precopy');
  assert.equal((await inGuest(moved.vm, 'echo here')).trim(), 'here');
  assert.equal(moved.vm.qemu.monitor.version.major, 11);
});
