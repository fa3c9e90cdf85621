/** Looks at a case from outside: QEMUs by monitors of our own, hosts by their kernel, the store by its own gateway. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { tapName } from '../../host/host.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { claimValue, keysUnder, namesIn, vmValue } from '../../ownership/etcd/keys.ts';
import type { LabDaemons } from '../daemons.ts';
import { inNamespace } from '../network/network.ts';
import { processesIn } from '../network/processes.ts';
import type { Gate } from './gate.ts';
import type { ClaimLook, HostName, HostView } from './observation.ts';

const PREFIX = '/shadowferry';

/** The taps that a VM may have on a host. */
export function tapsOfSpec({ name, nics }: Pick<VmSpec, 'name' | 'nics'>): string[] {
  return nics.flatMap(({ id, direct, standby }) => [
    ...(direct === undefined ? [] : [tapName(name, id, 'direct')]),
    ...(standby === 'none' ? [] : [tapName(name, id, 'standby')]),
  ]);
}

function directoriesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

export async function viewOf(lab: LabDaemons, gate: Gate, host: HostName, vms: string): Promise<HostView> {
  const netns = lab.netns(host);
  const [links, tables, illness] = await Promise.all([
    exec(['ip', '-n', netns, '-br', 'link', 'show', 'type', 'tun']),
    exec(inNamespace(netns, ['nft', 'list', 'tables']), { allowFailure: true }),
    lab.illness(host),
  ]);
  const known = new Set([lab.daemons[host].pid, ...gate.qemus(host).map(({ pid }) => pid)]);
  const lines = (text: string) => text.split('\n').filter((line) => line.trim() !== '');
  return {
    taps: lines(links.stdout).map((line) => line.split(/[\s@]/, 1)[0] ?? ''),
    directories: directoriesIn(join(lab.places[host].state, vms)),
    programs: processesIn([netns])
      .filter(({ pid }) => !known.has(pid))
      .map(({ name, pid }) => `${name} (${pid})`),
    rules: tables.code === 0 ? lines(tables.stdout) : [],
    illness,
  };
}

/** What the store says of a VM and of devices. */
export async function recordsOf(
  lab: LabDaemons,
  vm: string,
): Promise<{ owner: string | undefined; claims: ClaimLook[] }> {
  const keys = keysUnder(PREFIX);
  const entries = await lab.etcd.entries(`${PREFIX}/`);
  const text = entries.get(keys.vm(vm));
  const record = text === undefined ? undefined : vmValue.parse(keys.vm(vm), text);
  const claims = [...entries].flatMap(([key, value]) => {
    if (!key.startsWith(keys.claims())) return [];
    const [host = '', device = ''] = namesIn(key, 2);
    const { migration } = claimValue.parse(key, value);
    return [{ host, device, ...(migration === undefined ? {} : { migration }) }];
  });
  return { owner: record?.owner ?? undefined, claims };
}
