/** Life of a VM's QEMU process. It outlives its supervisor; a record beside its sockets lets the next one find it. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { identify, isAlive, type ProcessIdentity, signalProcess, spawnDetached } from '../../base/process.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { QmpClient } from '../qmp/client.ts';
import { qemuArgv } from './argv.ts';
import { type Placement, VmSpec, vmPaths } from './spec.ts';

const Record_ = z.object({ spec: VmSpec, host: z.string(), pid: z.number().int(), startTicks: z.string() });

/** A QEMU process with its monitor connected. */
export interface QemuProcess {
  readonly spec: VmSpec;
  readonly host: string;
  readonly directory: string;
  readonly identity: ProcessIdentity;
  readonly monitor: QmpClient;
}

export interface StartOptions {
  spec: VmSpec;
  host: string;
  placement: Placement;
  /** Words before the program, e.g. what enters the host's network namespace and execs the rest. */
  prefix: readonly string[];
  signal: AbortSignal;
}

function tail(file: string, bytes = 2000): string {
  try {
    return readFileSync(file, 'utf8').slice(-bytes).trim();
  } catch {
    return '';
  }
}

/**
 * Starts QEMU with its vCPUs stopped and connects its monitor.
 * @throws ShadowferryError QEMU_START_FAILED with QEMU's own words; nothing is left running then.
 */
export async function startQemu(options: StartOptions): Promise<QemuProcess> {
  const { spec, host, placement, prefix, signal } = options;
  const directory = placement.directory;
  const paths = vmPaths(directory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const argv = [...prefix, ...qemuArgv(spec, placement)];
  const [program = placement.binary, ...args] = argv;
  const child = spawnDetached([program, ...args], paths.log);
  const identity = identify(child.pid) ?? { pid: child.pid, startTicks: '' };
  const early = new AbortController();
  void child.exited.then((how) => early.abort(new Error(how)));
  try {
    const monitor = await QmpClient.connect({
      path: paths.monitor,
      name: `${spec.name}@${host}`,
      signal: AbortSignal.any([signal, early.signal]),
    });
    const record: z.infer<typeof Record_> = { spec, host, ...identity };
    writeFileSync(`${paths.record}.new`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${paths.record}.new`, paths.record);
    child.release();
    return { spec, host, directory, identity, monitor };
  } catch (error) {
    signalProcess(identity, 'SIGKILL');
    if (signal.aborted) throw signal.reason;
    const why = tail(paths.log) || (early.signal.aborted ? reasonOf(early.signal.reason) : reasonOf(error));
    throw new ShadowferryError('QEMU_START_FAILED', { host, why }, { cause: error });
  }
}

/** The VM whose QEMU was started in `directory`, whether that runs or not; undefined where nothing is recorded. */
export function recordedSpec(directory: string): VmSpec | undefined {
  try {
    return Record_.parse(JSON.parse(readFileSync(vmPaths(directory).record, 'utf8'))).spec;
  } catch {
    return undefined;
  }
}

/** What is recorded of the QEMU that an earlier supervisor started in `directory`; undefined when it does not run (any more). */
export function recordedQemu(
  directory: string,
): { spec: VmSpec; host: string; identity: ProcessIdentity } | undefined {
  try {
    const record = Record_.parse(JSON.parse(readFileSync(vmPaths(directory).record, 'utf8')));
    const identity = { pid: record.pid, startTicks: record.startTicks };
    return isAlive(identity) ? { spec: record.spec, host: record.host, identity } : undefined;
  } catch {
    return undefined;
  }
}

/** Finds the QEMU that an earlier supervisor started in `directory`, and connects to its monitor; undefined when it does not run (any more). */
export async function findQemu(directory: string, signal: AbortSignal): Promise<QemuProcess | undefined> {
  const recorded = recordedQemu(directory);
  if (recorded === undefined) return undefined;
  const { spec, host, identity } = recorded;
  const path = vmPaths(directory).monitor;
  const monitor = await QmpClient.connect({ path, name: `${spec.name}@${host}`, signal });
  return { spec, host, directory, identity, monitor };
}

/** Updates the record after the VM's devices changed, so that a later supervisor knows what it runs. */
export function recordSpec(qemu: QemuProcess, spec: VmSpec): QemuProcess {
  const paths = vmPaths(qemu.directory);
  const record: z.infer<typeof Record_> = { spec, host: qemu.host, ...qemu.identity };
  writeFileSync(`${paths.record}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${paths.record}.new`, paths.record);
  return { ...qemu, spec };
}

/** Ends QEMU (kindly, then by force when `signal` aborts first), waits until it is gone and removes its directory. */
export async function endQemu(qemu: Pick<QemuProcess, 'identity' | 'directory' | 'monitor'>): Promise<void> {
  const closed = qemu.monitor.closed;
  const asked = qemu.monitor.execute('quit').catch(() => {});
  const kill = setTimeout(() => signalProcess(qemu.identity, 'SIGKILL'), 2000);
  await asked;
  await closed;
  clearTimeout(kill);
  signalProcess(qemu.identity, 'SIGKILL');
  await qemu.monitor.close();
  rmSync(qemu.directory, { recursive: true, force: true });
}
