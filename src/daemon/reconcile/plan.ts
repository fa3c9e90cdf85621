/** What a crash left on a host, and what is done about it. Pure. Only what bears our names is looked at. */
import { tapName } from '../../host/host.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { DeviceClaim, Ownership } from '../../ownership/store.ts';

/** What is there. */
export interface Found {
  host: string;
  /** Names of network interfaces. */
  interfaces: readonly string[];
  /** Directories of VMs, by the VM's name. */
  directories: readonly { vm: string; qemu: 'none' | 'runs' | 'stands' | 'unknown' }[];
  /** Claims on this host's devices. */
  claims: readonly DeviceClaim[];
  /** By VM; undefined when the store could not be asked. */
  records: ReadonlyMap<string, Ownership> | undefined;
}

/** What accounts for it. */
export interface Accounts {
  /** VMs that are here, or on their way: their taps, directories and QEMUs are needed. */
  vms: readonly VmSpec[];
  /** Names of VMs that an open entry of a journal is about. */
  migrating: ReadonlySet<string>;
  /** Names of VMs that are known and do not run: what they said last is kept. */
  resting: ReadonlySet<string>;
  /** Ids of the migrations that are open in a journal. */
  open: ReadonlySet<string>;
}

/** `leave`: it is told, and an operator sees to it. */
export type Leftover =
  | { what: 'tap'; name: string; action: 'remove'; reason: string }
  | { what: 'directory'; name: string; action: 'remove'; reason: string }
  | { what: 'qemu'; name: string; action: 'end' | 'leave'; reason: string }
  | { what: 'claim'; name: string; claim: DeviceClaim; action: 'release'; reason: string };

/** As `tapName` makes them; nothing else on a host is called so. */
const OURS = /^sf[ds][0-9a-f]{8}$/;

const tapsOf = ({ name, nics }: VmSpec) =>
  nics.flatMap(({ id }) => [tapName(name, id, 'direct'), tapName(name, id, 'standby')]);

function qemuLeftover({ vm, qemu }: Found['directories'][number], found: Found): Leftover {
  const record = found.records?.get(vm);
  const leave = (reason: string): Leftover => ({ what: 'qemu', name: vm, action: 'leave', reason });
  if (found.records === undefined) return leave('whose the VM is cannot be asked');
  if (record?.owner === found.host)
    return leave('this host owns the VM, and no journal or definition knows of it');
  if (qemu !== 'stands') return leave('it runs, or its monitor is silent');
  const owner = record === undefined ? 'nobody' : `host "${record.owner}"`;
  const reason = `${owner} owns the VM, no journal needs this copy, and its vCPUs stand`;
  return { what: 'qemu', name: vm, action: 'end', reason };
}

/** What nothing accounts for. */
export function leftovers(found: Found, { vms, migrating, resting, open }: Accounts): Leftover[] {
  const here = new Set(vms.map(({ name }) => name));
  const needed = new Set(vms.flatMap(tapsOf));
  const idle = found.directories.filter(({ vm }) => !here.has(vm) && !migrating.has(vm));
  const qemus = idle.filter(({ qemu }) => qemu !== 'none').map((each) => qemuLeftover(each, found));
  // a QEMU that stays holds its taps, whose names do not say whose they are
  const stays = qemus.some(({ action }) => action === 'leave');
  const unknown = [...migrating].some((vm) => !here.has(vm));
  const taps = found.interfaces
    .filter((name) => OURS.test(name) && !needed.has(name) && !stays && !unknown)
    .map((name): Leftover => ({ what: 'tap', name, action: 'remove', reason: 'no VM of this host has it' }));
  const directories = idle
    .filter(({ vm, qemu }) => qemu === 'none' && !resting.has(vm))
    .map(({ vm }): Leftover => {
      const reason = 'its QEMU is gone, and nothing is known of it';
      return { what: 'directory', name: vm, action: 'remove', reason };
    });
  const claims = found.claims.flatMap((claim): Leftover[] => {
    const { migration, vm, device } = claim;
    if (migration === undefined || open.has(migration) || migrating.has(vm)) return [];
    if (found.records === undefined || found.records.get(vm)?.owner === found.host) return [];
    const reason = `it was made for migration ${migration} of VM "${vm}", which is over`;
    return [{ what: 'claim', name: device, claim, action: 'release', reason }];
  });
  return [...qemus, ...taps, ...directories, ...claims];
}
