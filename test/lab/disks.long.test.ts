/** What may go wrong while disks go over: whatever it is, the guest loses nothing that was acknowledged. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { exec } from '../../src/base/exec.ts';
import { queryStatus } from '../../src/hypervisor/qmp/commands.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { Outcomes } from '../../src/migration/engine.ts';
import { Limits } from '../../src/migration/request.ts';
import { endVm, type RunningVm } from '../../src/migration/vm.ts';
import { migrateDisks, nodesOf, prepareDisks } from './disk-lab.ts';
import { inGuest } from './migrating.ts';
import { missingIn, startWriter, stopWriter, writtenSoFar } from './verified-writer.ts';

let lab: Lab;
let vm: RunningVm;

const told = ({ result }: Outcomes) =>
  JSON.stringify([result.error, result.left, result.warnings], undefined, 1);
const filesOn = (host: 'a' | 'b') => readdirSync(join(lab.directory, `disks-${host}`)).toSorted();

/** The guest writes on, and nothing of the attempt is left. */
async function assertAsBefore(outcomes: Outcomes, code: string): Promise<void> {
  assert.equal(outcomes.result.ending, 'rolled-back', told(outcomes));
  assert.equal(outcomes.result.error?.code, code, told(outcomes));
  assert.equal((await queryStatus(vm.qemu.monitor)).running, true);
  assert.deepEqual(filesOn('b'), []);
  assert.doesNotMatch(await nodesOf(vm), /away-/);
  const count = await writtenSoFar(vm, 'data');
  while ((await writtenSoFar(vm, 'data')) < count + 5);
}

describe('disks that move, and what goes wrong', () => {
  before(async () => {
    lab = await Lab.create({
      cacheDir: cacheDirectory(),
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      log: () => {},
    });
    vm = await lab.boot({ disks: await prepareDisks(lab) });
    await startWriter(vm, '/dev/vdb', 'data');
  });
  after(async () => lab?.dispose());
  afterEach(async () => {
    const small = join(lab.directory, 'small');
    await exec(['umount', small], { allowFailure: true });
  });

  test('cancelled in the last moment, with the vCPUs stopped and the copies whole', async () => {
    const cancel = new AbortController();
    const outcomes = await migrateDisks(lab, vm, {
      cancel: cancel.signal,
      confirm: async () => cancel.abort(),
    });
    await assertAsBefore(outcomes, 'CANCELLED');
  });

  test('the file system of the destination runs full', async () => {
    await inGuest(vm, 'dd if=/dev/urandom of=/dev/vdb bs=64k seek=512 count=64 oflag=direct 2>/dev/null');
    const small = join(lab.directory, 'small');
    mkdirSync(small);
    await exec(['mount', '-t', 'tmpfs', '-o', 'size=2m', 'none', small]);
    const outcomes = await migrateDisks(lab, vm, {
      request: {
        disks: { files: join(lab.directory, 'disks-b', 'files.qcow2'), data: join(small, 'data.raw') },
      },
      // as if others had not yet filled it when it was asked
      destination: (real) => ({
        places: async (paths, signal) =>
          (await real.places(paths, signal)).map((facts) => ({ ...facts, freeBytes: 2 ** 40 })),
      }),
    });
    await assertAsBefore(outcomes, 'DISK_COPY_FAILED');
    assert.deepEqual(readdirSync(small), []);
  });

  test('the link is cut for good while the disks are copied', async () => {
    let cut = false;
    const outcomes = await migrateDisks(lab, vm, {
      request: { diskBandwidth: 1024 ** 2, limits: Limits.parse({ stallMs: 2_000 }) },
      emit: async (event) => {
        if (event.type !== 'progress' || event.of !== 'disks' || cut) return;
        cut = true;
        await lab.network?.cutMigrationLink();
      },
    });
    await lab.network?.restoreMigrationLink();
    await assertAsBefore(outcomes, 'DISK_COPY_FAILED');
  });

  test('the link is cut for 3 s, and the migration goes through', async () => {
    let back: Promise<void> | undefined;
    const breakLink = async () => {
      await lab.network?.cutMigrationLink();
      await delay(3_000);
      await lab.network?.restoreMigrationLink();
    };
    const outcomes = await migrateDisks(lab, vm, {
      request: { diskBandwidth: 1024 ** 2 },
      emit: (event) => {
        if (event.type === 'progress' && event.of === 'disks') back ??= breakLink();
      },
    });
    await back;
    assert.ok(back !== undefined);
    assert.equal(outcomes.result.ending, 'completed', told(outcomes));
    assert.ok(outcomes.destinationVm);
    vm = outcomes.destinationVm;
    const written = await stopWriter(vm, 'data');
    assert.deepEqual(written.wrong, []);
    console.log(`${written.count} writes, the slowest took ${written.slowestMs} ms`);
    await endVm(vm);
    assert.deepEqual(missingIn(join(lab.directory, 'disks-b', 'data.raw'), written), []);
  });
});
