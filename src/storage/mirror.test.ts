import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../base/deadline.ts';
import { exec } from '../base/exec.ts';
import { DiskSpec } from '../hypervisor/qemu/spec.ts';
import { QmpClient } from '../hypervisor/qmp/client.ts';
import { closeExports, openExports } from './exports.ts';
import { finishMirrors, mirrorFailure, mirrorFigures, startMirrors, stopMirror } from './mirror.ts';
import type { DiskTarget } from './model.ts';
import { diskFacts } from './source-disks.ts';
import { makeTarget } from './target.ts';
import { targetFacts } from './target-facts.ts';
import { beginVersion, forgetVersions } from './versions.ts';

const QEMU = 'qemu-system-x86_64';
const skip =
  spawnSync(QEMU, ['--version']).error === undefined ? false : `${QEMU} is missing on this machine`;
const MIB = 1024 ** 2;
const PLAIN = { speed: 0, tls: undefined };
const soon = () => deadline('a test', 20_000);

/** A QEMU without a guest, with disks. */
async function qemu(t: TestContext, directory: string, name: string, words: readonly string[]) {
  const path = join(directory, `${name}.sock`);
  const base = ['-M', 'q35', '-m', '16', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S'];
  const child = spawn(QEMU, [...base, ...words, '-qmp', `unix:${path},server=on,wait=off`], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const qmp = await QmpClient.connect({ path, name, signal: soon() });
  t.after(async () => {
    await qmp.close();
    child.kill('SIGKILL');
    await exited;
  });
  return { qmp, child };
}

const node = (id: string, format: string, path: string) => [
  ...[
    '-blockdev',
    `driver=${format},node-name=disk-${id},discard=unmap,file.driver=file,file.discard=unmap,file.filename=${path}`,
  ],
  ...['-blockdev', `driver=raw,node-name=top-${id},file=disk-${id},discard=unmap`],
  ...['-device', `virtio-blk-pci,id=blk-${id},drive=top-${id}`],
];

interface Disk {
  spec: DiskSpec;
  target: DiskTarget;
}

async function setUp(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sf-mirror-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const disks = await Promise.all(
    (['raw', 'qcow2'] as const).map(async (format): Promise<Disk> => {
      const path = join(directory, `a.${format}`);
      await exec(['qemu-img', 'create', '-q', '-f', format, path, '64M']);
      const write = ['-c', 'write -q -P 7 1M 3M', '-c', 'write -q -P 0 8M 8M'];
      await exec(['qemu-io', '-f', format, ...write, path]);
      const spec = DiskSpec.parse({ id: format, path, format, storage: 'moves' });
      const size = { virtualBytes: 64 * MIB, replaces: false };
      const target = {
        id: format,
        path: join(directory, `b.${format}`),
        format,
        at: 'file' as const,
        ...size,
      };
      await makeTarget(target, { host: 'b', vm: 'web1', migration: 'm-1' }, soon());
      return { spec, target };
    }),
  );
  const source = await qemu(
    t,
    directory,
    'a',
    disks.flatMap(({ spec }) => node(spec.id, spec.format, spec.path)),
  );
  const words = disks.flatMap(({ target }) => node(target.id, target.format, target.path));
  const destination = await qemu(t, directory, 'b', ['-incoming', 'defer', ...words]);
  const targets = disks.map(({ target }) => target);
  const options = { address: '127.0.0.1', migration: 'm-1', source: 'a', tls: undefined };
  const exports = await openExports(destination.qmp, targets, options, soon());
  return { source, destination, disks, exports, ids: disks.map(({ spec }) => spec.id) };
}

async function untilReady(qmp: QmpClient, ids: readonly string[]): Promise<void> {
  while (!(await mirrorFigures(qmp, ids, soon())).ready) await delay(10);
}

async function nodesOf(qmp: QmpClient): Promise<string> {
  return JSON.stringify(await qmp.execute('query-named-block-nodes', { flat: true }));
}

describe('disks of one QEMU become those of another', { skip }, () => {
  test('raw and qcow2 are the same there, and what is zero takes no room', async (t) => {
    const { source, destination, disks, exports, ids } = await setUp(t);
    const facts = await diskFacts(
      source.qmp,
      disks.map(({ spec }) => spec),
      soon(),
    );
    assert.deepEqual(
      facts.map(({ id, virtualBytes, guestBlock, missing }) => [id, virtualBytes, guestBlock, missing]),
      [
        ['raw', 64 * MIB, 512, []],
        ['qcow2', 64 * MIB, 512, []],
      ],
    );
    assert.ok(facts.every(({ allocatedBytes }) => allocatedBytes >= 3 * MIB && allocatedBytes < 20 * MIB));
    const inUse = await targetFacts(disks[0]?.spec.path ?? '', undefined, soon());
    assert.match(inUse.inUse ?? '', /another QEMU/);
    await startMirrors(source.qmp, exports, PLAIN, soon());
    await untilReady(source.qmp, ids);
    // as if the guest wrote
    const write = {
      'command-line': 'qemu-io -d /machine/peripheral/blk-raw/virtio-backend "write -P 9 20M 1M"',
    };
    assert.equal(await source.qmp.execute('human-monitor-command', write), '');
    await finishMirrors(source.qmp, ids, soon());
    await closeExports(destination.qmp, soon());
    await closeExports(destination.qmp, soon());
    assert.doesNotMatch(await nodesOf(source.qmp), /away-/);
    for (const { spec, target } of disks) {
      await exec(['qemu-img', 'compare', '-U', '-f', spec.format, '-F', spec.format, spec.path, target.path]);
      assert.ok(statSync(target.path).blocks * 512 < 8 * MIB, `${target.path} is sparse`);
    }
    assert.match(
      (
        await exec([
          'qemu-io',
          '-U',
          '-r',
          '-f',
          'raw',
          '-c',
          'read -P 9 20M 1M',
          disks[0]?.target.path ?? '',
        ])
      ).stdout,
      /read 1048576/,
    );
  });

  test('a copy that is not whole is not finished; broken off, the source has its disks for itself', async (t) => {
    const { source, exports, ids } = await setUp(t);
    await startMirrors(source.qmp, exports, { ...PLAIN, speed: MIB }, soon());
    await assert.rejects(finishMirrors(source.qmp, ids, soon()), { code: 'DISK_COPY_FAILED' });
    for (const id of [...ids, ...ids]) await stopMirror(source.qmp, id);
    assert.doesNotMatch(await nodesOf(source.qmp), /away-/);
    await startMirrors(source.qmp, exports, PLAIN, soon()); // the next try finds nothing in its way
    await untilReady(source.qmp, ids);
  });

  test('only what was written since the disk was left there goes back, also while more is written', async (t) => {
    const { source, destination, disks, exports, ids } = await setUp(t);
    const targets = disks.map(({ target }) => target);
    await startMirrors(source.qmp, exports, PLAIN, soon());
    await untilReady(source.qmp, ids);
    await finishMirrors(source.qmp, ids, soon());
    // from here on both have the same, and the source is where it is written, as if the VM had come from there
    await beginVersion(source.qmp, targets, 'm-0', soon());
    const write = async (pattern: number, at: string) => {
      for (const id of ids) {
        const line = `qemu-io -d /machine/peripheral/blk-${id}/virtio-backend "write -P ${pattern} ${at} 64k"`;
        await source.qmp.execute('human-monitor-command', { 'command-line': line });
      }
    };
    await write(1, '1M');
    await write(2, '30M');
    await write(6, '20M'); // and never again
    const facts = await diskFacts(
      source.qmp,
      disks.map(({ spec }) => spec),
      soon(),
    );
    assert.deepEqual(
      facts.map(({ changed }) => [...changed]),
      [[['m-0', 196_608]], [['m-0', 196_608]]],
    );
    const since = new Map(ids.map((id) => [id, 'm-0']));
    for (const round of [1, 2]) {
      await startMirrors(source.qmp, exports, { speed: 100_000, tls: undefined, since }, soon());
      await write(3, '1M'); // before it is copied, or after
      await write(4, `${40 + round}M`);
      // broken off once: all of it is copied again
      if (round === 1) for (const id of ids) await stopMirror(source.qmp, id);
    }
    await untilReady(source.qmp, ids);
    const { transferred } = await mirrorFigures(source.qmp, ids);
    assert.ok(transferred < 2 * MIB, `${transferred} bytes were copied`);
    await write(5, '30M');
    await finishMirrors(source.qmp, ids, soon());
    assert.doesNotMatch(await nodesOf(source.qmp), /away-/);
    await closeExports(destination.qmp, soon());
    for (const { spec, target } of disks)
      await exec(['qemu-img', 'compare', '-U', '-f', spec.format, '-F', spec.format, spec.path, target.path]);
    await forgetVersions(
      source.qmp,
      targets.map((target) => ({ ...target, since: 'm-0' })),
      soon(),
    );
    assert.doesNotMatch(await nodesOf(source.qmp), /since-/);
  });

  test('a destination that dies ends the copies, and is told at once', async (t) => {
    const { source, destination, exports, ids } = await setUp(t);
    await startMirrors(source.qmp, exports, { ...PLAIN, speed: MIB }, soon());
    const failure = mirrorFailure(source.qmp, ids, soon());
    destination.child.kill('SIGKILL');
    await assert.rejects(failure, { code: 'DISK_COPY_FAILED' });
    for (const id of ids) await stopMirror(source.qmp, id);
    assert.doesNotMatch(await nodesOf(source.qmp), /away-/);
  });

  test('a destination that answers no more keeps nobody from going on', async (t) => {
    const { source, destination, exports, ids } = await setUp(t);
    await startMirrors(source.qmp, exports, PLAIN, soon());
    await untilReady(source.qmp, ids);
    destination.child.kill('SIGSTOP');
    const line = 'qemu-io -d /machine/peripheral/blk-raw/virtio-backend "aio_write -P 9 20M 1M"';
    await source.qmp.execute('human-monitor-command', { 'command-line': line });
    for (const id of ids) await stopMirror(source.qmp, id);
    assert.doesNotMatch(await nodesOf(source.qmp), /away-/);
  });

  test('nothing goes over unencrypted to who encrypts, nor the other way round', async (t) => {
    const { source, exports } = await setUp(t);
    const encrypted = exports.map((each) => ({ ...each, certificate: 'beta' }));
    await assert.rejects(startMirrors(source.qmp, encrypted, PLAIN, soon()), { code: 'DISK_COPY_FAILED' });
  });
});
