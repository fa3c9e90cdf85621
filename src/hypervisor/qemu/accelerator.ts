/**
 * Whether KVM really runs guests here. That /dev/kvm exists proves nothing: nested or restricted hosts have one
 * that refuses, hangs, or runs only guests made for it. So a QEMU runs the first steps of a kernel under KVM, in a
 * process of its own and against a clock; anything but the expected exit code means TCG.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { findProgram } from '../../base/find-program.ts';
import { EXIT_CODE, EXIT_PORT, probeFirmware } from './probe-firmware.ts';

export interface Accelerator {
  kind: 'kvm' | 'tcg';
  /** One sentence for the user. */
  reason: string;
}

export interface AcceleratorOptions {
  signal: AbortSignal;
  /** The QEMU that will run the guests. */
  binary: string;
  /** Where the answer is kept until the next boot. */
  cacheDir: string;
  /** Milliseconds that KVM gets to run the instructions; a working one needs about 100. */
  timeoutMs?: number;
  /** Ask again, whatever the kept answer is. */
  fresh?: boolean;
  /** Replaced by tests. */
  kvmDevice?: string;
  modules?: string;
  env?: NodeJS.ProcessEnv;
}

type RunResult = { runs: true } | { runs: false; why: string };

type End = { code: number | null; killedBy: NodeJS.Signals | null } | 'timeout' | Error;

/** Waits for whichever comes first: the child's end, the time, or the caller's signal. */
function watch(child: ChildProcess, timeoutMs: number, signal: AbortSignal): Promise<End> {
  return new Promise((resolve) => {
    const settle = (end: End) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onTime);
      resolve(end);
    };
    const onTime = () => settle('timeout');
    const timer = setTimeout(onTime, timeoutMs);
    signal.addEventListener('abort', onTime, { once: true });
    child.once('error', settle);
    child.once('exit', (code, killedBy) => settle({ code, killedBy }));
  });
}

function lastLine(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').at(-1) ?? '';
}

/**
 * Has `binary` run the instructions under `accelerator`. Takes `timeoutMs` at most, even when the QEMU process
 * cannot be killed because it is stuck in the kernel: it is then left behind, and holds nothing of this process.
 * @throws the signal's reason
 */
export async function runsGuestCode(
  binary: string,
  accelerator: Accelerator['kind'],
  { signal, timeoutMs }: { signal: AbortSignal; timeoutMs: number },
): Promise<RunResult> {
  signal.throwIfAborted();
  const directory = mkdtempSync(join(tmpdir(), 'shadowferry-accel-'));
  const firmware = join(directory, 'firmware');
  const log = join(directory, 'log');
  const logFd = openSync(log, 'w'); // a file, because a stuck process would hold its end of a pipe
  try {
    writeFileSync(firmware, probeFirmware());
    const child = spawn(
      binary,
      [
        ...['-machine', 'q35', '-accel', accelerator, '-m', '16', '-nodefaults', '-no-user-config'],
        ...['-display', 'none', '-no-reboot', '-bios', firmware],
        ...['-device', `isa-debug-exit,iobase=${EXIT_PORT},iosize=1`],
      ],
      { stdio: ['ignore', 'ignore', logFd] },
    );
    const end = await watch(child, timeoutMs, signal);
    if (end === 'timeout') child.kill('SIGKILL');
    child.unref();
    signal.throwIfAborted();
    if (end === 'timeout') return { runs: false, why: `it did not run a guest within ${timeoutMs} ms` };
    if (end instanceof Error) return { runs: false, why: end.message };
    if (end.code === EXIT_CODE) return { runs: true };
    return {
      runs: false,
      why: lastLine(log) || `QEMU ended with ${end.killedBy ?? `exit code ${end.code}`}`,
    };
  } finally {
    closeSync(logFd);
    rmSync(directory, { recursive: true, force: true });
  }
}

const Kept = z.object({ key: z.string(), kind: z.enum(['kvm', 'tcg']), reason: z.string() });

/** What the answer depends on: this boot's kernel, this QEMU, this user, and what is tried. */
function keyOf(binary: string): string {
  const tried = createHash('sha256').update(probeFirmware()).digest('hex').slice(0, 16);
  const { size, mtimeMs } = statSync(binary);
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return [boot, realpathSync(binary), size, mtimeMs, process.getuid?.(), tried].join(' ');
}

function recall(file: string, key: string): Accelerator | undefined {
  try {
    const kept = Kept.parse(JSON.parse(readFileSync(file, 'utf8')));
    return kept.key === key ? { kind: kept.kind, reason: kept.reason } : undefined;
  } catch {
    return undefined; // none, or not one of ours
  }
}

function keep(file: string, key: string, answer: Accelerator): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    const temporary = `${file}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify({ key, ...answer } satisfies z.infer<typeof Kept>));
    renameSync(temporary, file);
  } catch {
    // A cache that cannot be written costs the next run the same time again, and nothing else.
  }
}

/**
 * Why KVM need not be tried; undefined when it must be. Does not open the device: even that may hang.
 * Without hardware virtualisation the kernel may have kvm_pvm, whose guests must have been made for it: it runs
 * the beginning of any other as an interpreter and then hangs.
 */
function ruledOut(kvmDevice: string, modules: string, env: NodeJS.ProcessEnv): string | undefined {
  if (env.SHADOWFERRY_ACCELERATOR === 'tcg') return 'SHADOWFERRY_ACCELERATOR is "tcg"';
  if (process.arch !== 'x64') return `the guests are x86-64 and this machine is ${process.arch}`;
  const has = (module: string) => existsSync(join(modules, module));
  if (has('kvm_pvm') && !has('kvm_intel') && !has('kvm_amd')) {
    return "this machine's KVM (kvm_pvm) runs only guests that were made for it";
  }
  if (!existsSync(kvmDevice)) return `there is no ${kvmDevice}`;
  try {
    accessSync(kvmDevice, constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return `this user may not use ${kvmDevice}`;
  }
}

/**
 * Which accelerator to give QEMU. KVM only when it has run guest instructions, on this boot and with this binary;
 * in all other cases TCG. The answer is kept in `cacheDir`, so a KVM that hangs costs its time once.
 * `SHADOWFERRY_ACCELERATOR=tcg` leaves KVM untouched.
 * @throws the signal's reason, and nothing else
 */
export async function probeAccelerator({
  signal,
  binary,
  cacheDir,
  timeoutMs = 1500,
  fresh = false,
  kvmDevice = '/dev/kvm',
  modules = '/sys/module',
  env = process.env,
}: AcceleratorOptions): Promise<Accelerator> {
  const reason = ruledOut(kvmDevice, modules, env);
  if (reason !== undefined) return { kind: 'tcg', reason };
  const path = findProgram(binary);
  if (path === undefined) return { kind: 'tcg', reason: `there is no ${binary} to try KVM with` };
  const file = join(cacheDir, 'accelerator.json');
  const key = keyOf(path);
  const kept = fresh ? undefined : recall(file, key);
  if (kept) return kept;
  const result = await runsGuestCode(path, 'kvm', { signal, timeoutMs });
  const answer: Accelerator = result.runs
    ? { kind: 'kvm', reason: 'KVM runs guests here' }
    : { kind: 'tcg', reason: `KVM does not work here: ${result.why}` };
  keep(file, key, answer);
  return answer;
}
