/** What becomes of what depends on an interface's index, and the plan's part in it. Pure. */
import { dependentKey } from '../keys.ts';
import type { Dependent, NetShadow } from '../model.ts';
import { type Draft, draft, type Findings } from '../plan-draft.ts';
import type { Continuity, Stage } from '../plan-model.ts';
import { dependentValue } from './value.ts';

export type Fate = { kept: true; how: string } | { kept: false; why: string };

const LOST: Record<Dependent['kind'], string> = {
  socket: 'it is bound to an index that is gone: its program must bind it anew',
  'packet-socket': 'it is bound to an index that is gone: its program must open it anew',
  multicast: 'the membership went with the interface: its program must join again',
  upper: 'it ends with the interface that it stands on: whoever has that namespace must make it anew',
  firewall:
    'nftables binds it to an index that is gone, and it cannot be put back exactly: load the rule set again',
};

/** What becomes of it when the interface gets another index, or keeps its own. */
export function fateOf(dependent: Dependent, index: 'another' | 'same'): Fate {
  if (index === 'same') return { kept: true, how: 'the interface stays' };
  if (dependent.nft !== undefined) return { kept: true, how: 'made again by nft' };
  return { kept: false, why: LOST[dependent.kind] };
}

/** The fate in each mode; the first migration in `hold` or `bridge` makes the shadow interface, with another index. */
export function fatesOf(dependent: Dependent, standIn: NetShadow['standIn']): Record<Continuity, Fate> {
  const bare = standIn.kind === 'none';
  const held = fateOf(dependent, bare ? 'another' : 'same');
  return { replay: held, hold: held, bridge: held };
}

/**
 * What an interface with another index makes of its dependents: losses, told also as one warning for each kind.
 * @param once the interface that is made now stays: the next move takes them nothing
 */
export function loseDependents(shadow: NetShadow, found: Findings, once = false): void {
  const lost = (shadow.dependents ?? []).filter((one) => !fateOf(one, 'another').kept);
  for (const dependent of lost) {
    const fate = fateOf(dependent, 'another');
    if (!fate.kept)
      found.losses.push({ key: dependentKey(dependent), value: dependentValue(dependent), why: fate.why });
  }
  for (const kind of new Set(lost.map((one) => one.kind))) {
    const each = lost.filter((one) => one.kind === kind);
    const named = each.map(
      ({ what, on, owner }) => `${what} on ${on}${owner === undefined ? '' : ` (${owner})`}`,
    );
    const hint = once ? ' (this time only: the shadow interface that is made now stays)' : '';
    found.warnings.push(`${kind}: ${named.join(', ')} — ${LOST[kind]}${hint}`);
  }
}

/** A chain that still hooks the old device must go first: its device cannot be changed. */
function insteadOfPresent(nft: string): string {
  const chain = /^flush chain (.*)$/m.exec(nft)?.[1];
  return chain === undefined ? nft : `flush chain ${chain}\ndelete chain ${chain}\n${nft}`;
}

/** The index that nobody has any more leaves the set: another device may have it one day. It need not be there. */
function withoutOld(nft: string, shadow: NetShadow, on: string): string {
  const set = /^add element (\S+ \S+ \S+) /.exec(nft)?.[1];
  const index = [shadow, ...(shadow.uppers ?? [])].find(({ link }) => link.name === on)?.link.ifindex;
  if (set === undefined || index === undefined) return nft;
  return `add element ${set} { ${index} }\ndelete element ${set} { ${index} }\n${nft}`;
}

/**
 * What nftables had bound to the old index, bound to the new one: traffic may depend on it.
 * @param present the old interface is still there
 */
export const firewallDrafts = (shadow: NetShadow, stage: Stage, present: boolean): Draft[] =>
  (shadow.dependents ?? []).flatMap((dependent) => {
    const { nft } = dependent;
    if (nft === undefined) return [];
    const text = withoutOld(present ? insteadOfPresent(nft) : nft, shadow, dependent.on);
    return [draft(stage, 'nft', [text], [dependentKey(dependent)])];
  });
