/**
 * Which device gives way to which, for a process that finds a swap in the journal. The VM's own record may say either:
 * who died between the record and the release of the old device has left a claim that nobody else knows of.
 */
import { z } from 'zod';
import { recordSpec } from '../../hypervisor/qemu/process.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import type { Journal, JournalStep, StepJournal } from '../journal.ts';
import type { RunningVm } from '../vm.ts';

/** Kind of the note. */
const EXCHANGE = 'exchange';
/** The step that ends it: the VM is recorded with its new device, and the old one is free. */
export const LET_GO = 'let go of the old device';

const Device = z.object({ id: z.string(), model: z.string() });
const Exchange = z.object({ nic: z.string(), old: Device, new: Device });
export type Exchange = z.infer<typeof Exchange>;

export function noteExchange(journal: Pick<StepJournal, 'note'>, id: string, exchange: Exchange): void {
  journal.note(id, EXCHANGE, JSON.stringify(Exchange.parse(exchange)));
}

/** Undefined for what is no swap, or did not come so far that a device was claimed. */
export function exchangeOf(journal: Pick<Journal, 'notes'>, id: string): Exchange | undefined {
  const noted = journal.notes(id).findLast(({ kind }) => kind === EXCHANGE);
  return noted === undefined ? undefined : Exchange.parse(JSON.parse(noted.text));
}

/** Whether a swap came to its last step, and that not to its end. */
export function holdsOld(steps: readonly Pick<JournalStep, 'name' | 'status'>[]): boolean {
  const tries = steps.filter(({ name }) => name === LET_GO);
  return tries.length > 0 && tries.every(({ status }) => status !== 'done');
}

/**
 * Does the last step of a swap, once traffic is on the new device or there is no way back to the old one. Safe to repeat.
 * @throws errors of the store
 */
export async function letGoOfOld(
  { nic: id, old, new: { id: device, model } }: Exchange,
  {
    vm,
    ownership,
    journal,
    migration,
  }: {
    vm: RunningVm;
    ownership: Pick<OwnershipStore, 'releaseDevice'>;
    journal: StepJournal;
    migration: string;
  },
): Promise<void> {
  const seq = journal.begin(migration, 'settle', LET_GO, []);
  const { spec } = vm.qemu;
  const nics = spec.nics.map((nic) => (nic.id === id ? { ...nic, direct: { device, model } } : nic));
  vm.qemu = recordSpec(vm.qemu, { ...spec, nics });
  await ownership.releaseDevice({ host: vm.host.name, device: old.id, vm: spec.name });
  journal.end(migration, seq, 'done');
}
