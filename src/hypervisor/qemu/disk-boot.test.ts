/** A VM without a kernel: the machine's own firmware boots it from its first disk. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { findProgram } from '../../base/find-program.ts';
import { qemuArgv } from './argv.ts';
import { VmSpec, vmPaths } from './spec.ts';

const QEMU = 'qemu-system-x86_64';
const skip = findProgram(QEMU) === undefined && `there is no ${QEMU} here`;
const SAID = 'booted from the disk\n';
/** Firmware needs seconds under an emulator on a machine that is busy. */
const BOOT_MS = 60_000;

/** A disk whose first sector says something on the serial line, and halts. */
function disk(): Buffer {
  const code = [
    ...[0xba, 0xf8, 0x03], // mov dx, the serial line's port
    ...[...Buffer.from(SAID)].flatMap((byte) => [0xb0, byte, 0xee]), // mov al, byte; out dx, al
    ...[0xfa, 0xf4, 0xeb, 0xfd], // cli; hlt, again and again
  ];
  const image = Buffer.alloc(1024 * 1024);
  image.set(code);
  image.set([0x55, 0xaa], 510);
  return image;
}

test('a VM without a kernel boots from its first disk', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-boot-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'disk.img');
  writeFileSync(path, disk());
  const { serial } = vmPaths(directory);
  writeFileSync(serial, '');
  const spec = VmSpec.parse({
    ...{ name: 'web1', memoryMiB: 64, boot: { kernel: '' }, nics: [] },
    disks: [{ id: 'root', path, format: 'raw' }],
  });
  const placement = { binary: QEMU, accelerator: 'tcg', directory, taps: {}, incoming: false } as const;
  const [binary, ...args] = qemuArgv(spec, placement);
  const words = args.filter((word) => word !== '-S');
  assert.equal(words.includes('-kernel'), false);
  const child = spawn(binary, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const exited = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  const watcher = watch(serial);
  t.after(() => watcher.close());
  const signal = deadline('booting from the disk', BOOT_MS);
  const died = exited.then(() => Promise.reject(new Error(`QEMU ended: ${complaint}`)));
  died.catch(() => {});
  while (!readFileSync(serial, 'latin1').includes(SAID))
    await Promise.race([once(watcher, 'change', { signal }), died]);
});
