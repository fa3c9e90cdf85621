/**
 * Whether KVM really runs guests here. That /dev/kvm exists proves nothing: nested, emulated or restricted hosts
 * have one that refuses or hangs. So a QEMU runs a handful of guest instructions under KVM, in a process of its
 * own and against a clock; anything but the expected exit code means TCG.
 */
import { type ChildProcess, spawn } from 'node:child_process';
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
  env?: NodeJS.ProcessEnv;
}

/** What the guest writes to the debug exit port; QEMU ends with twice that plus one. */
const ANSWER = 0x2a;
const EXPECTED_EXIT = ANSWER * 2 + 1;
const EXIT_PORT = 0xf4;

/**
 * A 64 KiB firmware image that begins, as x86 does, 16 bytes before its end: it counts down from 4096, writes the
 * answer to the debug exit port, and stops.
 */
export function answeringFirmware(): Uint8Array {
  const HLT = 0xf4;
  const image = new Uint8Array(65_536).fill(HLT);
  const code = [
    ...[0xb9, 0x00, 0x10], // mov cx, 0x1000
    ...[0xe2, 0xfe], //       loop to itself until cx is 0
    ...[0xb0, ANSWER], //     mov al, ANSWER
    ...[0xe6, EXIT_PORT], //  out EXIT_PORT, al
    ...[HLT],
  ];
  image.set(code, image.length - 16);
  return image;
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
    writeFileSync(firmware, answeringFirmware());
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
    if (end === 'timeout') return { runs: false, why: `it ran nothing within ${timeoutMs} ms` };
    if (end instanceof Error) return { runs: false, why: end.message };
    if (end.code === EXPECTED_EXIT) return { runs: true };
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

/** What the answer depends on: this boot's kernel, this QEMU, this user. */
function keyOf(binary: string): string {
  const { size, mtimeMs } = statSync(binary);
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return [boot, realpathSync(binary), size, mtimeMs, process.getuid?.()].join(' ');
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

/** Why KVM need not be tried; undefined when it must be. Does not open the device: even that may hang. */
function ruledOut(kvmDevice: string, env: NodeJS.ProcessEnv): string | undefined {
  if (env.SHADOWFERRY_ACCELERATOR === 'tcg') return 'SHADOWFERRY_ACCELERATOR is "tcg"';
  if (process.arch !== 'x64') return `the guests are x86-64 and this machine is ${process.arch}`;
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
  env = process.env,
}: AcceleratorOptions): Promise<Accelerator> {
  const reason = ruledOut(kvmDevice, env);
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
