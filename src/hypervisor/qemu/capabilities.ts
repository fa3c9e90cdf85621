/** What a QEMU binary can do, asked of the binary itself: never concluded from its version. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { exec } from '../../base/exec.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { type Qmp, QmpClient } from '../qmp/client.ts';

/** A PCI network device that QEMU can emulate. */
export interface NetModel {
  name: string;
  /** Another name that QEMU takes for it. */
  alias?: string;
  description?: string;
}

export interface QemuCapabilities {
  binary: string;
  version: { major: number; minor: number; micro: number; package: string };
  /** Names of machine types, with the names they stand for (`q35` for `pc-q35-7.2`). */
  machines: { name: string; alias?: string }[];
  netModels: NetModel[];
  /** Names of QEMU's migration capabilities, sorted. */
  migrationCapabilities: string[];
  /** Whether this QEMU can receive a post-copy migration here, with QEMU's own reason when it cannot. */
  postcopy: { supported: boolean; reason: string };
  /** Whether it can give a host's PCI device to a guest. */
  hasVfio: boolean;
  /** Whether it was compiled with KVM; says nothing of this machine (see `probeAccelerator`). */
  hasKvm: boolean;
}

/** Listed by QEMU among its network devices, but not NICs that a guest has traffic through. */
const NOT_NICS = new Set(['pvrdma', 'rocker']);

/** The PCI NICs in the text of `-device help`, where devices stand below a title for each category. */
export function parseNetModels(help: string): NetModel[] {
  const models: NetModel[] = [];
  let inNetwork = false;
  for (const line of help.split('\n')) {
    const title = /^(\S.*) devices:$/.exec(line);
    if (title) inNetwork = title[1] === 'Network';
    const device = /^name "([^"]+)", bus PCI(?:, alias "([^"]+)")?(?:, desc "(.*)")?/.exec(line);
    const [, name, alias, description] = device ?? [];
    if (!inNetwork || name === undefined || NOT_NICS.has(name)) continue;
    models.push({
      name,
      ...(alias === undefined ? {} : { alias }),
      ...(description === undefined ? {} : { description }),
    });
  }
  return models;
}

const Machines = z.array(z.object({ name: z.string(), alias: z.string().optional() }));
const Capabilities = z.array(z.object({ capability: z.string() }));
const Types = z.array(z.object({ name: z.string() }));
const Kvm = z.object({ present: z.boolean() });

/** QEMU checks the host when a side that waits for a migration turns post-copy on. */
async function askPostcopy(
  qmp: Qmp,
  names: readonly string[],
  signal: AbortSignal,
): Promise<QemuCapabilities['postcopy']> {
  if (!names.includes('postcopy-ram')) return { supported: false, reason: 'this QEMU has no post-copy' };
  const capabilities = [{ capability: 'postcopy-ram', state: true }];
  try {
    await qmp.execute('migrate-set-capabilities', { capabilities }, { signal });
    return { supported: true, reason: 'QEMU accepts it on this host' };
  } catch (error) {
    if (!(error instanceof ShadowferryError) || error.code !== 'QMP_REFUSED') throw error;
    return { supported: false, reason: String(error.params.description ?? error.message) };
  }
}

async function askMonitor(monitor: QmpClient, signal: AbortSignal) {
  const [machines, capabilities, vfio, kvm] = await Promise.all([
    monitor.execute('query-machines', undefined, { schema: Machines, signal }),
    monitor.execute('query-migrate-capabilities', undefined, { schema: Capabilities, signal }),
    monitor.execute('qom-list-types', { implements: 'vfio-pci' }, { schema: Types, signal }),
    monitor.execute('query-kvm', undefined, { schema: Kvm, signal }),
  ]);
  const names = capabilities.map(({ capability }) => capability).sort();
  return {
    version: monitor.version,
    machines: machines.map(({ name, alias }) => (alias === undefined ? { name } : { name, alias })),
    migrationCapabilities: names,
    postcopy: await askPostcopy(monitor, names, signal),
    hasVfio: vfio.length > 0,
    hasKvm: kvm.present,
  };
}

/** Starts a QEMU with no machine in it, which waits for a migration that never comes, and asks its monitor. */
async function askBinary(binary: string, signal: AbortSignal) {
  const directory = await mkdtemp(join(tmpdir(), 'shadowferry-probe-'));
  const path = join(directory, 'qmp.sock');
  const stop = new AbortController();
  const running = exec(
    [
      ...([binary, '-machine', 'none', '-accel', 'tcg', '-nodefaults', '-no-user-config'] as const),
      ...['-display', 'none', '-S', '-incoming', 'defer', '-qmp', `unix:${path},server=on,wait=off`],
    ],
    { signal: AbortSignal.any([signal, stop.signal]), allowFailure: true },
  );
  const early = new AbortController();
  const ended = running.then(
    ({ code, stderr }) => early.abort(new Error(stderr.trim() || `exit code ${code}`)),
    (reason: unknown) => early.abort(reason),
  );
  try {
    const name = 'the QEMU that is probed';
    const monitor = await QmpClient.connect({ path, name, signal: AbortSignal.any([signal, early.signal]) });
    try {
      return await askMonitor(monitor, signal);
    } finally {
      await monitor.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ShadowferryError) throw error;
    throw new ShadowferryError(
      'QEMU_START_FAILED',
      { host: 'this machine', why: reasonOf(error) },
      { cause: error },
    );
  } finally {
    stop.abort();
    await ended;
    await rm(directory, { recursive: true, force: true });
  }
}

async function probe(binary: string, signal: AbortSignal): Promise<QemuCapabilities> {
  // First, because it fails with TOOL_MISSING, or with QEMU's own words, when there is no QEMU that starts.
  const help = await exec([binary, '-machine', 'none', '-accel', 'tcg', '-device', 'help'], { signal });
  const answers = await askBinary(binary, signal);
  return { binary, netModels: parseNetModels(help.stdout), ...answers };
}

const known = new Map<string, Promise<QemuCapabilities>>();

/**
 * Asks a QEMU binary (a path, or a name on the PATH) what it can do; remembered while this process runs.
 * Takes some 100 ms the first time. Never touches KVM.
 * @throws TOOL_MISSING, COMMAND_FAILED or QEMU_START_FAILED when it does not start, or the signal's reason.
 */
export function probeQemu(binary: string, { signal }: { signal: AbortSignal }): Promise<QemuCapabilities> {
  const asked = known.get(binary) ?? probe(binary, signal);
  known.set(binary, asked);
  asked.catch(() => known.delete(binary));
  return asked;
}
