/** What the destination's daemon may do next in a world. */
import type { DestinationDecision, DestinationFacts, SourcePeer } from '../destination-recovery.ts';
import type { Step } from '../explore.ts';
import { type IncomingEvent, type IncomingState, incomingEnded } from '../incoming.ts';
import type { Standing } from '../record.ts';
import type { Rules } from './rules.test-data.ts';
import { FLYING, SENT, saidBit, type World } from './world.test-data.ts';

type Change = Partial<World>;

function entered(w: World, state: IncomingState): Change {
  return { destination: state, said: w.said | saidBit(state) };
}

const noted = (rules: Rules, w: World, state: IncomingState, event: IncomingEvent): Change =>
  entered(w, rules.incomingTransition(state, event));

/** What the source's daemon would answer now. */
function answer({ source, sourceQemu }: World): SourcePeer {
  switch (source.kind) {
    case 'running':
      if (!source.committed) return 'before';
      return sourceQemu === 'none' ? 'source-gone' : 'committed';
    case 'rolling-back':
      return 'over';
    case 'ended':
      return source.ending === 'completed' || source.ending === 'degraded' ? 'committed' : 'over';
    default:
      return source satisfies never;
  }
}

function reserve(w: World): Change {
  if (!w.destinationClaims) return w.storeAtDestination ? { destinationClaims: true } : {};
  return w.destinationQemu === 'none' ? { destinationQemu: 'waiting', memory: 'partial' } : {};
}

function effect(rules: Rules, w: World, state: IncomingState, decision: DestinationDecision): Change {
  switch (decision.action) {
    case 'none':
    case 'wait':
    case 'ask-operator':
      return {};
    case 'note':
      return noted(rules, w, state, decision.event);
    case 'reserve':
      return reserve(w);
    case 'continue-vm':
      return w.destinationQemu === 'loaded' ? { destinationQemu: 'running', ran: true } : {};
    case 'attach':
      return w.destinationQemu === 'running' ? { destinationDevice: true } : {};
    case 'recover-copy':
      return { listening: true };
    case 'refuse-hand-over':
      return w.storeAtDestination ? { flying: w.flying | FLYING.destinationRefusal } : {};
    case 'hand-back':
      return w.storeAtDestination ? { flying: w.flying | FLYING.handBack } : {};
    case 'discard-vm':
      return { destinationQemu: 'none', destinationDevice: false, runWhenLoaded: false, listening: false };
    case 'release':
      return { destinationClaims: false };
    case 'pause-vm':
      return w.destinationQemu === 'running' ? { destinationQemu: 'stopped' } : {};
    default:
      return decision satisfies never;
  }
}

type Told = Pick<DestinationFacts, 'peer' | 'patienceOver' | 'startRefused' | 'neverRan'>;

/** The combinations of facts that the daemon may look at, and whether something had to go wrong for them. */
function* looks(w: World): Generator<Told & { fault: boolean }> {
  const silent = {
    ...{ peer: 'unreachable', patienceOver: false, startRefused: false, neverRan: false },
  } as const satisfies Told;
  if (w.sourceUp) yield { ...silent, peer: answer(w), fault: false };
  yield { ...silent, fault: false };
  if (!w.sourceUp || w.faults > 0) yield { ...silent, patienceOver: true, fault: w.sourceUp };
  if (w.destination?.kind !== 'starting') return;
  if (w.faults > 0 && w.destinationQemu === 'loaded') yield { ...silent, startRefused: true, fault: true };
  // the same process that went to `starting` knows it; a later one does not
  if (w.destinationQemu === 'none' && !w.ran) yield { ...silent, neverRan: true, fault: false };
}

function* act(rules: Rules, w: World, state: IncomingState): Generator<Step<World>> {
  if (w.destinationLook === undefined) {
    if (incomingEnded(state)) return;
    const record: Standing = w.storeAtDestination ? w.record : 'unreachable';
    const look = { record, qemu: w.destinationQemu };
    yield { label: 'destination: looks', to: { ...w, destinationLook: look }, fault: false };
    return;
  }
  const seen = w.destinationLook;
  const acted = { ...w, destinationLook: undefined };
  for (const { fault, ...look } of looks(w)) {
    const decision = rules.recoverDestination({
      ...{ state, memory: w.memory, device: w.destinationDevice, claims: w.destinationClaims },
      ...seen,
      ...look,
    });
    const what = decision.action === 'note' ? `notes "${decision.event}"` : decision.action;
    const label = `destination (source: ${look.peer}): ${what}: ${decision.reason}`;
    const faults = fault ? w.faults - 1 : w.faults;
    yield { label, to: { ...acted, ...effect(rules, w, state, decision), faults }, fault };
    if (w.faults === 0 || fault) continue;
    const refused =
      decision.action === 'attach' ? 'attach-failed' : decision.action === 'reserve' ? 'failed' : undefined;
    if (refused === undefined) continue;
    const to = { ...acted, ...noted(rules, w, state, refused), faults: w.faults - 1 };
    yield { label: `destination: ${decision.action} fails`, to, fault: true };
  }
}

/** Everything that the destination's daemon may do next. */
export function* destinationSteps(rules: Rules, w: World): Generator<Step<World>> {
  if (!w.destinationUp) {
    yield { label: 'the daemon of the destination starts', to: { ...w, destinationUp: true }, fault: false };
    return;
  }
  if (w.faults > 0) {
    const to = { ...w, destinationUp: false, destinationLook: undefined, faults: w.faults - 1 };
    yield { label: 'the daemon of the destination is killed', to, fault: true };
  }
  for (const kind of ['reserve', 'cancel'] as const) {
    if ((w.sent & SENT[kind]) === 0) continue;
    const state = rules.receive(w.destination, { kind });
    if (state === undefined || state === w.destination) continue;
    yield {
      label: `destination: hears "${kind}"`,
      to: { ...w, ...entered(w, state), destinationLook: undefined },
      fault: false,
    };
  }
  if (w.destination !== undefined) yield* act(rules, w, w.destination);
}
