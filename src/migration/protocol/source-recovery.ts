/**
 * What the source's daemon does next about a migration that it coordinates: after its own death, after the commit, and
 * whenever something failed. Pure: the daemon looks (facts), asks, acts, and looks again. Facts may be stale by the time
 * of the act: what matters then is guarded by a compare-and-swap.
 */
import type { Event, Phase, State } from '../machine.ts';
import type { IncomingState } from './incoming.ts';
import type { SourceView } from './qemu-view.ts';
import type { Standing } from './record.ts';
import { firstRule, type Rule } from './rules.ts';

/** What the destination's daemon says: its journal. `unknown`: it never heard of the migration. */
export type PeerState = IncomingState | { kind: 'unknown' } | { kind: 'unreachable' };

export interface SourceFacts {
  /** The state in our journal. */
  state: State;
  /**
   * Our journal says that the commit was asked for: written before the question goes out, and only when QEMU said that
   * it does not start the VM by itself any more (`sent`, `serving`).
   */
  asked: boolean;
  strategy: 'precopy' | 'postcopy';
  record: Standing;
  qemu: SourceView;
  /** Whether every direct device is plugged and has its shadow, on the source. */
  device: boolean;
  /** Whether the source's devices are still claimed for the VM. */
  claims: boolean;
  peer: PeerState;
  /** The peer has been unreachable for `PROTOCOL_MS.patience`. */
  patienceOver: boolean;
}

export type SourceDecision = { reason: string } & (
  | {
      action:
        | 'none'
        | 'wait'
        /** `migrate_cancel`, until QEMU has no copy under way. QEMU may start the VM by itself then. */
        | 'cancel-migration'
        | 'continue-vm'
        /** Plug the source's own devices and replay the shadows. */
        | 're-attach'
        /** `resolveHandOver(commitAttempt(…))`. Its answer may be lost: look at the record again. */
        | 'refuse-hand-over'
        /** `handOver` with `commitAttempt(…)`, once more. */
        | 'hand-over'
        | 'tell-cancel'
        | 'tell-look'
        /** `migrate` with `resume`, to where the destination listens anew. */
        | 'resume-copy'
        /** End QEMU, remove its taps and its directory. */
        | 'discard-vm'
        /** Release the source's claims. */
        | 'release'
        | 'pause-vm'
        | 'ask-operator';
    }
  | {
      /** Take `event` to the transition table and to the journal. */
      action: 'note';
      event: Event;
    }
);

type SourceRule = Rule<SourceFacts, SourceDecision>;
type Action = Exclude<SourceDecision['action'], 'note'>;

const act = (action: Action, reason: string): SourceDecision => ({ action, reason });
const note = (event: Event, reason: string): SourceDecision => ({ action: 'note', event, reason });

const running = ({ state }: SourceFacts) => state.kind === 'running';
const committed = ({ state }: SourceFacts) => state.kind === 'running' && state.committed;
const open = (facts: SourceFacts) => running(facts) && !committed(facts);
const back = ({ state }: SourceFacts) => state.kind === 'rolling-back';
const phase = ({ state }: SourceFacts): Phase | undefined =>
  state.kind === 'running' ? state.phase : undefined;
const ours = ({ record }: SourceFacts) => record === 'refused' || record === 'returned';
const theirs = (facts: SourceFacts) =>
  facts.record === 'committed' ||
  facts.record === 'elsewhere' ||
  (facts.record === 'unreachable' && committed(facts));
const runs = ({ qemu }: SourceFacts) => qemu === 'running' || qemu === 'copying';
const mayRunThere = ({ peer: { kind } }: SourceFacts) =>
  kind === 'active' || kind === 'attached' || kind === 'settled';
const replayed = ({ peer: { kind } }: SourceFacts) => kind === 'attached' || kind === 'settled';
const degraded = ({ peer }: SourceFacts) => 'degraded' in peer && peer.degraded;
const over = ({ peer: { kind } }: SourceFacts) => kind === 'discarded' || kind === 'unknown';

const WHOSE: readonly SourceRule[] = [
  {
    when: 'our journal: ended',
    holds: ({ state }) => state.kind === 'ended',
    decision: act('none', 'nothing is left to do'),
  },
  {
    when: 'VM runs here; record: committed or elsewhere (or store unreachable, and our journal: committed)',
    holds: (facts) => runs(facts) && theirs(facts),
    decision: act('pause-vm', 'another host owns the VM, so it must not run here'),
  },
  {
    when: 'record: elsewhere',
    holds: ({ record }) => record === 'elsewhere',
    decision: act('ask-operator', 'the record is one that this migration cannot have led to'),
  },
  {
    when: 'record: undecided; our journal: committed',
    holds: (facts) => facts.record === 'undecided' && committed(facts),
    decision: act(
      'ask-operator',
      'the record is older than our journal: was the store restored from a copy?',
    ),
  },
  {
    when: 'record: committed; our journal does not know',
    holds: (facts) => facts.record === 'committed' && !committed(facts),
    decision: note('committed', 'the record names the destination: forward only'),
  },
  {
    when: 'record: refused or returned; our journal: committed',
    holds: (facts) => committed(facts) && ours(facts),
    decision: note('handed-back', 'the VM never ran on the destination, which gave it back'),
  },
];

const UNCOMMITTED: readonly SourceRule[] = [
  {
    when: 'our journal: not committed; record: refused or returned',
    holds: (facts) => open(facts) && ours(facts),
    decision: note('failed', 'the hand-over cannot happen any more: back to the source'),
  },
  {
    when: 'our journal: commit asked for; store unreachable',
    holds: (facts) => open(facts) && facts.asked && facts.record === 'unreachable',
    decision: act('wait', 'only the store knows whether the VM was handed over'),
  },
  {
    when: 'our journal: commit asked for; record: undecided; our QEMU is gone; pre-copy; destination: ready',
    holds: (facts) =>
      open(facts) &&
      facts.asked &&
      facts.qemu === 'none' &&
      facts.strategy === 'precopy' &&
      facts.peer.kind === 'ready',
    decision: act('hand-over', 'the destination has the only copy, and it is whole'),
  },
  {
    when: 'our journal: commit asked for; record: undecided',
    holds: (facts) => open(facts) && facts.asked,
    decision: act(
      'refuse-hand-over',
      'the question may still be on its way to the store: it must not succeed later',
    ),
  },
  {
    when: 'our journal: not committed, commit not asked for',
    holds: open,
    decision: note('failed', 'nobody but us asks for the commit, and we have not: back to the source'),
  },
];

const BACK: readonly SourceRule[] = [
  {
    when: 'rolling back; a copy is under way',
    holds: (facts) =>
      back(facts) && ['copying', 'pre-switchover', 'sending', 'serving', 'severed'].includes(facts.qemu),
    decision: act('cancel-migration', 'the source goes on'),
  },
  {
    when: 'rolling back; destination reachable, and not yet discarding',
    holds: (facts) => back(facts) && !over(facts) && !['discarding', 'unreachable'].includes(facts.peer.kind),
    decision: act('tell-cancel', 'its QEMU may hold the disks that ours needs'),
  },
  {
    when: 'rolling back; VM stands still here',
    holds: (facts) => back(facts) && (facts.qemu === 'stopped' || facts.qemu === 'sent'),
    decision: act('continue-vm', 'we own the VM, and its whole state is here'),
  },
  {
    when: 'rolling back; VM runs here, without its device',
    holds: (facts) => back(facts) && facts.qemu === 'running' && !facts.device,
    decision: act('re-attach', 'the device goes back to where it was'),
  },
  {
    when: 'rolling back; destination: discarding',
    holds: (facts) => back(facts) && facts.peer.kind === 'discarding',
    decision: act('wait', 'the destination is taking back what it made'),
  },
  {
    when: 'rolling back; destination unreachable, not for long',
    holds: (facts) => back(facts) && facts.peer.kind === 'unreachable' && !facts.patienceOver,
    decision: act('wait', 'the destination has not said that it is clean'),
  },
  {
    when: 'rolling back; our QEMU is gone',
    holds: (facts) => back(facts) && facts.qemu === 'none',
    decision: note('undo-failed', 'the only copy ended with its QEMU'),
  },
  {
    when: 'rolling back; all else',
    holds: back,
    decision: note(
      'undone',
      'the VM is as it was; a destination that cannot be reached finds by itself that it has to clean up',
    ),
  },
];

const FORWARD: readonly SourceRule[] = [
  {
    when: 'committed; destination: lost; our QEMU is still there',
    holds: ({ peer, qemu }) => peer.kind === 'lost' && qemu !== 'none',
    decision: act('discard-vm', 'the VM went on from here on the destination: this copy is outdated'),
  },
  {
    when: 'committed; destination: lost; no claims any more',
    holds: ({ peer, claims }) => peer.kind === 'lost' && !claims,
    decision: note('lost', 'the only copy ended with the QEMU of the destination'),
  },
  {
    when: 'committed; memory link gone; destination: ready, starting, active or attached',
    holds: ({ peer, qemu }) =>
      qemu === 'severed' && ['ready', 'starting', 'active', 'attached'].includes(peer.kind),
    decision: act('resume-copy', 'we hold pages that the VM needs'),
  },
  {
    when: 'committed, phase before attach; destination: active, attached or settled',
    holds: (facts) => !['attach', 'settle'].includes(phase(facts) ?? '') && mayRunThere(facts),
    decision: note('ok', 'the VM runs on the destination'),
  },
  {
    when: 'committed, phase before attach; destination: ready',
    holds: (facts) => !['attach', 'settle'].includes(phase(facts) ?? '') && facts.peer.kind === 'ready',
    decision: act('tell-look', 'the destination may not know yet that it owns the VM'),
  },
  {
    when: 'committed, phase attach; destination: attached or settled, with its device',
    holds: (facts) => phase(facts) === 'attach' && replayed(facts) && !degraded(facts),
    decision: note('ok', 'the VM has its device'),
  },
  {
    when: 'committed, phase attach; destination: attached or settled, degraded',
    holds: (facts) => phase(facts) === 'attach' && replayed(facts),
    decision: note('failed', 'the VM runs without its device'),
  },
  {
    when: 'committed, phase settle; our QEMU has sent everything',
    holds: (facts) => phase(facts) === 'settle' && facts.qemu === 'sent',
    decision: act('discard-vm', 'the VM needs nothing of it any more'),
  },
  {
    when: 'committed, phase settle; destination: settled; our QEMU is still there',
    holds: (facts) => phase(facts) === 'settle' && facts.peer.kind === 'settled' && facts.qemu !== 'none',
    decision: act('discard-vm', 'the destination has all of the VM'),
  },
  {
    when: 'committed, phase settle or destination lost; our QEMU is gone; claims left; store reachable',
    holds: (facts) =>
      (phase(facts) === 'settle' || facts.peer.kind === 'lost') &&
      facts.qemu === 'none' &&
      facts.claims &&
      facts.record !== 'unreachable',
    decision: act('release', 'the devices of the source are free'),
  },
  {
    when: 'committed, phase settle; our QEMU is gone; no claims any more; destination: settled',
    holds: (facts) =>
      phase(facts) === 'settle' && facts.qemu === 'none' && !facts.claims && facts.peer.kind === 'settled',
    decision: note('ok', 'nothing of the VM is left here'),
  },
  {
    when: 'committed; all else',
    holds: committed,
    decision: act(
      'wait',
      'the destination goes on by itself; our copy stays, stopped, for it may be needed: for pages, or to be given back',
    ),
  },
];

/** Every rule in its order; the ones of `FORWARD` are reached only by what is committed. */
export const SOURCE_RULES: readonly SourceRule[] = [...WHOSE, ...UNCOMMITTED, ...BACK, ...FORWARD];

/** What to do next. */
export function recoverSource(facts: SourceFacts): SourceDecision {
  return firstRule(SOURCE_RULES, facts).decision;
}
