/** The link between the hosts breaks while memory follows the VM: the copy goes on when it is back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab } from '../../src/lab/lab.ts';
import { ensureQemuTree } from '../../src/lab/qemu-tree/tree.ts';
import { migrateInLab } from '../../src/lab/scenario.ts';
import type { MigrationEvent } from '../../src/migration/events.ts';
import { parseRequest } from '../../src/migration/request.ts';
import { CACHE, inGuest } from './migrating.ts';

/** Long enough that QEMU is told that the link is dead. */
const CUT_MS = 5000;
const STALL_MS = 2000;
const FILL = 'dd if=/dev/urandom of=/tmp/filled bs=1M count=48 2>/dev/null; sha256sum </tmp/filled';

for (const name of ['installed', '10'] as const) {
  test(`the link is cut for 5 s in post-copy: it is found out, and the rest comes (QEMU ${name})`, {
    timeout: 580_000,
  }, async () => {
    const options = { cacheDir: CACHE, devices: { a: ['e1000e'], b: ['e1000e'] }, log: () => {} };
    const tree =
      name === 'installed' ? undefined : await ensureQemuTree(name, { cacheDir: CACHE, log: () => {} });
    const qemu = tree === undefined ? {} : { qemu: { binary: tree.binary, accelerator: 'tcg' } as const };
    await using lab = await Lab.create({ ...options, ...qemu });
    const vm = await lab.boot();
    const before = await inGuest(vm, FILL);
    let cut: Promise<void> | undefined;
    const cutAndRestore = async () => {
      await lab.network?.cutMigrationLink();
      await new Promise((resolve) => setTimeout(resolve, CUT_MS));
      await lab.network?.restoreMigrationLink();
    };
    const emit = (event: MigrationEvent) => {
      // half of it is here, and the VM runs there
      const draining = event.type === 'progress' && event.phase === 'settle' && event.remaining > 0;
      if (draining) cut ??= cutAndRestore();
    };
    const request = parseRequest({
      ...{ vm: 'web1', destination: 'b', continuity: 'bridge', strategy: 'postcopy' },
      ...{ maxBandwidth: 4_000_000, limits: { stallMs: STALL_MS, attachMs: 60_000 } },
    });
    const { result, destinationVm } = await migrateInLab({ lab, vm, request, emit });
    await cut;
    const told = JSON.stringify([result.error, result.left, result.warnings, result.marks], undefined, 1);
    assert.ok(cut !== undefined, `the link was not cut: ${told}`);
    assert.equal(result.ending, 'completed', told);
    assert.ok(
      result.marks.some((mark) => mark.name === 'post-copy resumed'),
      told,
    );
    assert.ok(destinationVm !== undefined);
    assert.equal(await inGuest(destinationVm, 'sha256sum </tmp/filled'), before);
  });
}
