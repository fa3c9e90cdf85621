/** In which order what was journalled is taken back. Pure. */
import type { JournalStep } from './journal.ts';
import type { Undo } from './undo.ts';

/** The NIC that a whole step is about, as its undo says. */
function nicOf({ undo }: Pick<JournalStep, 'undo'>): string | undefined {
  const nics = new Set(undo.map((each: Undo) => ('nic' in each ? each.nic : undefined)));
  const [nic] = nics;
  return nics.size === 1 ? nic : undefined;
}

/** What may keep the guest waiting for a destination that does not answer any more: nothing else works until it ends. */
const holdsTheGuest = ({ undo }: Pick<JournalStep, 'undo'>): boolean =>
  undo.length > 0 && undo.every(({ kind }) => kind === 'stop-mirror');

/**
 * Steps to be undone, last first, in groups: those of a group are taken back at once, and a group when the one before
 * it is over. What follows each other in one phase and is about one NIC each goes together (the devices of two NICs are
 * plugged at once, as they were unplugged), where each NIC's own steps keep their order. Steps without an undo are left
 * out. Copies of disks are broken off before anything else.
 * @returns groups of chains of steps
 */
export function undoGroups<T extends Pick<JournalStep, 'phase' | 'undo'>>(steps: readonly T[]): T[][][] {
  const groups: { phase: string; chains: Map<string | undefined, T[]> }[] = [];
  const first = steps.filter(holdsTheGuest);
  for (const step of [...steps.filter((each) => !first.includes(each)), ...first].toReversed()) {
    if (step.undo.length === 0) continue;
    const nic = nicOf(step);
    const last = groups.at(-1);
    if (nic !== undefined && last?.phase === step.phase && !last.chains.has(undefined)) {
      last.chains.set(nic, [...(last.chains.get(nic) ?? []), step]);
    } else groups.push({ phase: step.phase, chains: new Map([[nic, [step]]]) });
  }
  return groups.map(({ chains }) => [...chains.values()]);
}
