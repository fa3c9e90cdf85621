/** Disks that are of one host go over with their VM, while the guest writes to them. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { exec } from '../../src/base/exec.ts';
import { queryStatus } from '../../src/hypervisor/qmp/commands.ts';
import { Lab } from '../../src/lab/lab.ts';
import { processesIn } from '../../src/lab/network/processes.ts';
import type { Outcomes } from '../../src/migration/engine.ts';
import type { MigrationEvent, ProgressEvent } from '../../src/migration/events.ts';
import { endVm, type RunningVm } from '../../src/migration/vm.ts';
import { migrateDisks, nodesOf, prepareDisks } from './disk-lab.ts';
import { inGuest } from './migrating.ts';
import { missingIn, startWriter, stopWriter, writtenSoFar } from './verified-writer.ts';

let lab: Lab;
let vm: RunningVm;

const at = (host: 'a' | 'b', file: string) => join(lab.directory, `disks-${host}`, file);
const filesOn = (host: 'a' | 'b') => readdirSync(join(lab.directory, `disks-${host}`)).toSorted();

function told({ result }: Outcomes): string {
  return JSON.stringify([result.error, result.left, result.warnings], undefined, 1);
}

describe('disks that move', () => {
  before(async () => {
    lab = await Lab.create({
      cacheDir: cacheDirectory(),
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      log: () => {},
    });
    vm = await lab.boot({ disks: await prepareDisks(lab) });
    await inGuest(vm, 'modprobe ext4; mkdir -p /mnt && mount -t ext4 /dev/vda /mnt');
    await startWriter(vm, '/dev/vdb', 'data');
  });
  after(async () => lab?.dispose());

  test('what stands against it is told before anything is touched', async () => {
    const plan = (disks: Record<string, string>) =>
      migrateDisks(lab, vm, { request: { disks, dryRun: true } });
    const refused = await plan({ files: '/nowhere/files.qcow2', data: at('b', 'data.raw') });
    assert.equal(refused.result.error?.code, 'DISK_TARGET_REFUSED');
    const taken = await plan({ files: at('b', 'files.qcow2'), data: at('a', 'data.raw') });
    assert.equal(taken.result.error?.code, 'DISK_IN_USE', told(taken));
    const unknown = await plan({ other: at('b', 'x') });
    assert.equal(unknown.result.error?.code, 'UNKNOWN_DISK');
    const good = await plan({ files: at('b', 'files.qcow2'), data: at('b', 'data.raw') });
    assert.equal(good.result.ending, 'planned', told(good));
    assert.deepEqual(filesOn('b'), []);
  });

  test('a destination that dies before the commit costs nothing: the guest goes on writing where it was', async () => {
    const kill = (event: MigrationEvent) => {
      if (event.type !== 'phase' || event.phase !== 'detach') return;
      for (const { pid } of processesIn([lab.network?.host('b').netns ?? ''])) process.kill(pid, 'SIGKILL');
    };
    const outcomes = await migrateDisks(lab, vm, { emit: kill });
    assert.equal(outcomes.result.ending, 'rolled-back', told(outcomes));
    assert.equal((await queryStatus(vm.qemu.monitor)).running, true);
    assert.deepEqual(filesOn('b'), []);
    assert.doesNotMatch(await nodesOf(vm), /away-/);
    const count = await writtenSoFar(vm, 'data');
    while ((await writtenSoFar(vm, 'data')) < count + 5);
  });

  test('there and back under a writer: equal at the commit, nothing lost, the file system is clean', async () => {
    await inGuest(
      vm,
      'dd if=/dev/urandom of=/mnt/file bs=64k count=16 2>/dev/null; md5sum /mnt/file >/run/sum; sync',
    );
    const progress: ProgressEvent[] = [];
    let compared = 0;
    for (const to of ['b', 'a'] as const) {
      const outcomes = await migrateDisks(lab, vm, {
        emit: (event) => event.type === 'progress' && progress.push(event),
        beforeStart: async () => {
          for (const { id, format, path } of vm.qemu.spec.disks) {
            const there = at(to, `${id}.${format}`);
            await exec(['qemu-img', 'compare', '-U', '-f', format, '-F', format, path, there]);
            compared += 1;
          }
        },
      });
      assert.equal(outcomes.result.ending, 'completed', told(outcomes));
      const what = to === 'b' ? /; all of it/ : /; what was written since it left there/;
      const reasons = outcomes.result.decisions.filter(({ action }) => action.startsWith('disk '));
      assert.ok(
        reasons.length === 2 && reasons.every(({ reason }) => what.test(reason)),
        JSON.stringify(reasons),
      );
      assert.ok(outcomes.destinationVm);
      vm = outcomes.destinationVm;
      assert.deepEqual(
        vm.qemu.spec.disks.map(({ path }) => path),
        [at(to, 'files.qcow2'), at(to, 'data.raw')],
      );
      assert.deepEqual(filesOn(to), ['data.raw', 'files.qcow2']);
      const from = to === 'b' ? 'a' : 'b';
      assert.deepEqual(filesOn(from), [
        'data.raw',
        'data.raw.left-behind',
        'files.qcow2',
        'files.qcow2.left-behind',
      ]);
      const exports = await vm.qemu.monitor.execute('query-block-exports');
      assert.deepEqual(exports, []);
    }
    assert.equal(compared, 4);
    const disks = progress.filter(({ of }) => of === 'disks');
    assert.ok(disks.length > 0 && disks.every(({ residual, remaining }) => residual.bytes === remaining));
    assert.equal(progress.at(-1)?.residual.bytes, 0);
    await inGuest(vm, 'md5sum -c /run/sum && umount /mnt');
    const written = await stopWriter(vm, 'data');
    assert.deepEqual(written.wrong, []);
    assert.ok(written.count > 100, `${written.count} writes`);
    console.log(`${written.count} writes, the slowest took ${written.slowestMs} ms`);
    await endVm(vm);
    assert.deepEqual(missingIn(at('a', 'data.raw'), written), []);
    const raw = join(lab.directory, 'files.raw');
    await exec(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', at('a', 'files.qcow2'), raw]);
    await exec(['e2fsck', '-fn', raw]);
    assert.ok(!existsSync(join(lab.directory, 'a', 'web1')));
  });
});
