/**
 * What the destination's daemon does next about an incoming migration, in good times and after its own death: the two
 * are the same, for it always goes by what its journal, the record and its QEMU say. Pure, like its counterpart.
 */
import type { IncomingEvent, IncomingKind, IncomingState } from './incoming.ts';
import type { DestinationView, MemoryView } from './qemu-view.ts';
import type { Standing } from './record.ts';
import { firstRule, type Rule } from './rules.ts';

/**
 * What the coordinator says of its journal. `before`: under way, not committed. `committed`. `over`: it goes or went
 * back, or never heard of it; the commit will never be asked for. `source-gone`: committed, and the source's QEMU is
 * gone.
 */
export const SOURCE_PEERS = ['before', 'committed', 'over', 'source-gone', 'unreachable'] as const;
export type SourcePeer = (typeof SOURCE_PEERS)[number];

export interface DestinationFacts {
  /** The state in our journal. */
  state: IncomingState;
  record: Standing;
  qemu: DestinationView;
  memory: MemoryView;
  /** Whether every direct device is plugged and replayed. */
  device: boolean;
  /** Whether the devices are claimed for the VM. */
  claims: boolean;
  peer: SourcePeer;
  /** The coordinator has been unreachable for `PROTOCOL_MS.patience`. */
  patienceOver: boolean;
  /** QEMU answered `cont` with an error, again and again, and the vCPUs still wait as they did when all was loaded. */
  startRefused: boolean;
  /** It is certain that no vCPU ran here: whoever would have told QEMU to run it says that it did not. */
  neverRan: boolean;
}

export type DestinationDecision = { reason: string } & (
  | {
      action:
        | 'none'
        | 'wait'
        /** Claim the devices, make the taps, start QEMU with `-incoming`. What is there already stays. */
        | 'reserve'
        | 'continue-vm'
        /** Plug the devices; the programs replay. Ends with `attached` or `attach-failed`. */
        | 'attach'
        /** `migrate-recover`: listen anew for the rest of the memory. */
        | 'recover-copy'
        /** `resolveHandOver(commitAttempt(…))`. Its answer may be lost: look at the record again. */
        | 'refuse-hand-over'
        /** `handOver` with `returnAttempt(…)`. */
        | 'hand-back'
        /** End QEMU, remove its taps and its directory. */
        | 'discard-vm'
        /** Release the claims. */
        | 'release'
        | 'pause-vm'
        | 'ask-operator';
    }
  | {
      /** Take `event` to the table and to the journal. */
      action: 'note';
      event: IncomingEvent;
    }
);

type DestinationRule = Rule<DestinationFacts, DestinationDecision>;
type Action = Exclude<DestinationDecision['action'], 'note'>;

const act = (action: Action, reason: string): DestinationDecision => ({ action, reason });
const note = (event: IncomingEvent, reason: string): DestinationDecision => ({
  action: 'note',
  event,
  reason,
});

const within =
  (...kinds: IncomingKind[]) =>
  ({ state }: DestinationFacts) =>
    kinds.includes(state.kind);
const beforeVote = within('reserving', 'reserved', 'receiving');
const mayHaveRun = within('starting', 'active', 'attached');
const ended = within('settled', 'discarded', 'lost');
const past = ({ record }: DestinationFacts) =>
  record === 'refused' || record === 'returned' || record === 'elsewhere';

const ANY: readonly DestinationRule[] = [
  {
    when: 'our journal: settled, discarded or lost',
    holds: ended,
    decision: act('none', 'nothing is left to do'),
  },
  {
    when: 'VM runs here; the record was read and does not name us',
    holds: (facts) => facts.qemu === 'running' && (past(facts) || facts.record === 'undecided'),
    decision: act('pause-vm', 'another host owns the VM, so it must not run here'),
  },
  {
    when: 'our journal: starting, active or attached; the record was read and does not name us',
    holds: (facts) => mayHaveRun(facts) && (past(facts) || facts.record === 'undecided'),
    decision: act(
      'ask-operator',
      'the VM ran here by right, and the record is one that this cannot have led to',
    ),
  },
];

const DISCARDING: readonly DestinationRule[] = [
  {
    when: 'our journal: discarding or returning; QEMU is still there',
    holds: (facts) => within('discarding', 'returning')(facts) && facts.qemu !== 'none',
    decision: act('discard-vm', 'the VM never ran here and never will'),
  },
  {
    when: 'our journal: discarding; claims left; store unreachable',
    holds: (facts) => within('discarding')(facts) && facts.claims && facts.record === 'unreachable',
    decision: act('wait', 'the claims are in the store'),
  },
  {
    when: 'our journal: discarding; claims left',
    holds: (facts) => within('discarding')(facts) && facts.claims,
    decision: act('release', 'the devices are free'),
  },
  {
    when: 'our journal: discarding; all else',
    holds: within('discarding'),
    decision: note('undone', 'nothing of the migration is left here'),
  },
  {
    when: 'our journal: returning; record: committed',
    holds: (facts) => within('returning')(facts) && facts.record === 'committed',
    decision: act('hand-back', 'no vCPU of it ran here: the source has all of the VM'),
  },
  {
    when: 'our journal: returning; record: not ours any more',
    holds: (facts) => within('returning')(facts) && past(facts),
    decision: note('disowned', 'the source owns the VM again'),
  },
  {
    when: 'our journal: returning; record: undecided',
    holds: (facts) => within('returning')(facts) && facts.record === 'undecided',
    decision: act(
      'ask-operator',
      'the record is older than our journal: was the store restored from a copy?',
    ),
  },
  {
    when: 'our journal: returning; all else',
    holds: within('returning'),
    decision: act('wait', 'the record cannot be changed while the store is unreachable'),
  },
];

const BEFORE_VOTE: readonly DestinationRule[] = [
  {
    when: 'no vote given; record: refused, returned or elsewhere',
    holds: (facts) => beforeVote(facts) && past(facts),
    decision: note('disowned', 'the hand-over cannot happen any more'),
  },
  {
    when: 'no vote given; record: committed; QEMU is gone, or the coordinator was silent for too long',
    holds: (facts) =>
      beforeVote(facts) &&
      facts.record === 'committed' &&
      (facts.qemu === 'none' || (facts.patienceOver && facts.qemu !== 'loaded')),
    decision: note('cannot-start', 'the VM is ours, but it did not come, and no vCPU of it ran here'),
  },
  {
    when: 'no vote given; record: not committed; the coordinator goes back',
    holds: (facts) => beforeVote(facts) && facts.record !== 'committed' && facts.peer === 'over',
    decision: note('cancelled', 'the coordinator will never ask for the commit'),
  },
  {
    when: 'our journal: reserving; QEMU or claims are missing; store unreachable',
    holds: (facts) =>
      within('reserving')(facts) &&
      (facts.qemu === 'none' || !facts.claims) &&
      facts.record === 'unreachable' &&
      !facts.patienceOver,
    decision: act('wait', 'claims are made in the store'),
  },
  {
    when: 'no vote given; record: not committed; the coordinator was silent for too long',
    holds: (facts) => beforeVote(facts) && facts.record !== 'committed' && facts.patienceOver,
    decision: note('failed', 'without our vote nobody asks for the commit'),
  },
  {
    when: 'our journal: reserving; QEMU or claims are missing',
    holds: (facts) => within('reserving')(facts) && (facts.qemu === 'none' || !facts.claims),
    decision: act('reserve', 'the source asked for a place for its VM'),
  },
  {
    when: 'our journal: reserving; all is there',
    holds: within('reserving'),
    decision: note('reserved', 'QEMU waits for the VM'),
  },
  {
    when: 'our journal: reserved or receiving; QEMU is gone',
    holds: (facts) => within('reserved', 'receiving')(facts) && facts.qemu === 'none',
    decision: note('failed', 'without our vote nobody asks for the commit'),
  },
  {
    when: 'our journal: reserved or receiving; all is loaded',
    holds: (facts) => within('reserved', 'receiving')(facts) && facts.qemu === 'loaded',
    decision: note('loaded', 'the VM can go on here: this is our vote'),
  },
  {
    when: 'our journal: reserved; the copy has begun',
    holds: (facts) => within('reserved')(facts) && facts.qemu === 'receiving',
    decision: note('copy-begun', 'memory comes'),
  },
  {
    when: 'our journal: reserved or receiving; all else',
    holds: within('reserved', 'receiving'),
    decision: act('wait', 'the copy is the source’s to make'),
  },
];

const READY: readonly DestinationRule[] = [
  {
    when: 'our journal: ready; record: committed; QEMU is gone',
    holds: (facts) => within('ready')(facts) && facts.record === 'committed' && facts.qemu === 'none',
    decision: note('cannot-start', 'it was never told to run here, so no vCPU of it ran'),
  },
  {
    when: 'our journal: ready; record: committed',
    holds: (facts) => within('ready')(facts) && facts.record === 'committed',
    decision: note('owned', 'the VM is ours'),
  },
  {
    when: 'our journal: ready; record: refused, returned or elsewhere',
    holds: (facts) => within('ready')(facts) && past(facts),
    decision: note('disowned', 'the hand-over cannot happen any more'),
  },
  {
    when: 'our journal: ready; the coordinator goes back',
    holds: (facts) => within('ready')(facts) && facts.peer === 'over',
    decision: note('cancelled', 'the coordinator will never ask for the commit'),
  },
  {
    when: 'our journal: ready; record: undecided; QEMU is gone, or the coordinator was silent for too long',
    holds: (facts) =>
      within('ready')(facts) &&
      facts.record === 'undecided' &&
      (facts.qemu !== 'loaded' || facts.patienceOver),
    decision: act('refuse-hand-over', 'we voted for it: it must not happen after we have left'),
  },
  {
    when: 'our journal: ready; all else',
    holds: within('ready'),
    decision: act('wait', 'we voted: only the record says how it ends'),
  },
];

const OWNED: readonly DestinationRule[] = [
  {
    when: 'our journal: starting; QEMU is gone before it was told to run',
    holds: (facts) => within('starting')(facts) && facts.qemu === 'none' && facts.neverRan,
    decision: note('cannot-start', 'no vCPU of it ran here, and the source has all of the VM'),
  },
  {
    when: 'our journal: starting, active or attached; QEMU is gone',
    holds: (facts) => mayHaveRun(facts) && facts.qemu === 'none',
    decision: note(
      'qemu-gone',
      'it may have run here, so the copy of the source is outdated, and there is no other',
    ),
  },
  {
    when: 'our journal: starting; the VM runs, or ran',
    holds: (facts) => within('starting')(facts) && (facts.qemu === 'running' || facts.qemu === 'stopped'),
    decision: note('runs', 'the VM goes on here'),
  },
  {
    when: 'our journal: starting; QEMU refused to run it',
    holds: (facts) => within('starting')(facts) && facts.startRefused,
    decision: note('cannot-start', 'no vCPU of it ran here, and the source has all of the VM'),
  },
  {
    when: 'our journal: starting; all else',
    holds: within('starting'),
    decision: act('continue-vm', 'the VM is ours, and only we could change that'),
  },
  {
    when: 'our journal: attached; memory not whole; the source’s QEMU is gone',
    holds: (facts) => within('attached')(facts) && facts.memory !== 'whole' && facts.peer === 'source-gone',
    decision: act('ask-operator', 'pages that the VM needs ended with the QEMU of the source'),
  },
  {
    when: 'our journal: active or attached; memory link gone; the source’s QEMU is not known to be gone',
    holds: (facts) =>
      within('active', 'attached')(facts) && facts.memory === 'severed' && facts.peer !== 'source-gone',
    decision: act('recover-copy', 'the source holds pages that the VM needs'),
  },
  {
    when: 'our journal: active; device missing',
    holds: (facts) => within('active')(facts) && !facts.device,
    decision: act('attach', 'the program in the guest waits for the device'),
  },
  {
    when: 'our journal: active; device there',
    holds: within('active'),
    decision: note('attached', 'the VM has its device'),
  },
  {
    when: 'our journal: attached; memory whole',
    holds: (facts) => within('attached')(facts) && facts.memory === 'whole',
    decision: note('whole', 'the VM needs nothing of the source any more'),
  },
  {
    when: 'our journal: attached; all else',
    holds: within('attached'),
    decision: act('wait', 'the rest of the memory comes'),
  },
];

/** Every rule in its order. */
export const DESTINATION_RULES: readonly DestinationRule[] = [
  ...ANY,
  ...DISCARDING,
  ...BEFORE_VOTE,
  ...READY,
  ...OWNED,
];

/** What to do next. */
export function recoverDestination(facts: DestinationFacts): DestinationDecision {
  return firstRule(DESTINATION_RULES, facts).decision;
}
