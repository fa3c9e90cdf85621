import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { exec } from '../../base/exec.ts';
import { QmpClient } from '../qmp/client.ts';
import { qemuArgv } from './argv.ts';
import { layoutDifferences } from './layout.ts';
import { learnQemu } from './learn.ts';
import { VmSpec, vmPaths } from './spec.ts';

const QEMU = 'qemu-system-x86_64';
const skip = spawnSync(QEMU, ['--version']).error === undefined ? false : `${QEMU} is missing`;

test('a disk that moves is learned with its own format, and is built in as ours are', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-learn-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'd.qcow2');
  await exec(['qemu-img', 'create', '-q', '-f', 'qcow2', path, '8M']);
  const moves = { format: 'qcow2', storage: 'moves' };
  const scsi = join(directory, 'e.qcow2');
  await exec(['qemu-img', 'create', '-q', '-f', 'qcow2', scsi, '8M']);
  const spec = VmSpec.parse({
    ...{ name: 'web1', memoryMiB: 64, boot: { kernel: '' }, nics: [] },
    disks: [
      { id: 'root', path, ...moves },
      { id: 'data', path: scsi, ...moves, bus: 'virtio-scsi' },
    ],
  });
  const placement = { binary: QEMU, accelerator: 'tcg', directory, taps: {}, incoming: false } as const;
  const [binary, ...args] = qemuArgv(spec, placement);
  const child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const exited = once(child, 'exit');
  const signal = deadline('a test', 20_000);
  const qmp = await QmpClient.connect({ path: vmPaths(directory).monitor, name: 'web1', signal });
  t.after(async () => {
    await qmp.close();
    child.kill('SIGKILL');
    await exited;
  });
  const learned = await learnQemu(qmp, signal);
  const found = learned.disks.map(({ device, file, format, ours }) => ({ device, file, format, ...ours }));
  const ours = { format: 'qcow2', storage: 'moves', at: 'file' };
  assert.deepEqual(found, [
    { device: 'blk-root', file: path, ...ours, bus: 'virtio-blk' },
    { device: 'blk-data', file: scsi, ...ours, bus: 'virtio-scsi' },
  ]);
  const disks = layoutDifferences(learned, spec, placement, new Set()).filter((text) =>
    /disk|blk|scsi/.test(text),
  );
  assert.deepEqual(disks, []);
});
