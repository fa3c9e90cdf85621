/** What the source's daemon may do next in a world. */
import type { Event } from '../../machine.ts';
import type { Step } from '../explore.ts';
import type { Standing } from '../record.ts';
import type { PeerState, SourceDecision } from '../source-recovery.ts';
import type { Rules } from './rules.test-data.ts';
import { FLYING, runsAtSource, SENT, saidStates, type World } from './world.test-data.ts';

type Steps = Step<World>[];

const step = (label: string, w: World, change: Partial<World>, fault = false): Step<World> => ({
  label,
  to: { ...w, ...change, ...(fault ? { faults: w.faults - 1 } : {}) },
  fault,
});

function noted(rules: Rules, w: World, event: Event): Partial<World> {
  return { source: rules.transition(w.source, event).state };
}

const heard = (w: World, ...kinds: string[]) => saidStates(w.said).some(({ kind }) => kinds.includes(kind));

/** The process that drives the migration, phase by phase, until the commit was asked for. */
function drive(rules: Rules, w: World): Steps {
  const { source } = w;
  if (source.kind !== 'running') return [];
  const done = (label: string, change: Partial<World> = {}) =>
    step(`source: ${label}`, w, { ...change, ...noted(rules, w, 'ok') });
  const failed = (why: string) =>
    step(`source: ${source.phase} failed: ${why}`, w, noted(rules, w, 'failed'));
  if (w.sourceQemu === 'none') return [failed('its QEMU is gone')];
  if (heard(w, 'discarding', 'discarded')) return [failed('the destination left')];
  switch (source.phase) {
    case 'preflight':
      return w.storeAtSource ? [done('preflight')] : [failed('no record')];
    case 'reserve': {
      const ask = step('source: asks for a place', w, { sent: w.sent | SENT.reserve });
      return heard(w, 'reserved') ? [done('the destination has a place')] : [ask];
    }
    case 'stage':
      return [done('staged')];
    case 'detach':
      return w.sourceDevice
        ? [step('source: unplugs the device', w, { sourceDevice: false })]
        : [done('detached')];
    case 'copy':
      return copy(w, done, failed);
    case 'switchover':
      return switchover(rules, w, failed);
    case 'attach':
    case 'settle': // after the commit: by the same decisions as after a crash
      return [];
    default:
      return source.phase satisfies never;
  }
}

function copy(w: World, done: (label: string) => Step<World>, failed: (why: string) => Step<World>): Steps {
  switch (w.sourceQemu) {
    case 'running':
      if (w.destinationQemu !== 'waiting') return [failed('the destination does not take it')];
      return [step('source: starts the copy', w, { sourceQemu: 'copying', destinationQemu: 'receiving' })];
    case 'copying':
      return [];
    case 'pre-switchover':
      return [done('copied')];
    default:
      return [failed(`QEMU is "${w.sourceQemu}"`)];
  }
}

function switchover(rules: Rules, w: World, failed: (why: string) => Step<World>): Steps {
  switch (w.sourceQemu) {
    case 'pre-switchover':
      if (!rules.votes) return [step('source: wants the commit', w, { asked: true })];
      return [step('source: lets QEMU go on', w, { sourceQemu: 'sending' })];
    case 'sending':
      return [];
    case 'sent':
    case 'serving':
      return heard(w, 'ready') ? [step('source: wants the commit', w, { asked: true })] : [];
    default:
      return [failed(`QEMU is "${w.sourceQemu}"`)];
  }
}

/** The process that drives the migration, between its question to the store and the answer. */
function ask(rules: Rules, w: World): Steps {
  const steps: Steps = [];
  if (w.sourceQemu === 'none') return [step('source: the process that drives gives up', w, { live: false })];
  if (w.storeAtSource && w.record === 'undecided' && w.flying === 0)
    steps.push(step('source: asks the store for the commit', w, { flying: w.flying | FLYING.commit }));
  if (rules.silenceIsNo && w.faults > 0)
    steps.push(step('source: no answer of the store, so it failed', w, noted(rules, w, 'failed'), true));
  return steps;
}

/** Today's order of post-copy, which the checker is asked about: the commit comes before QEMU goes on. */
function goOn(w: World): Steps {
  if (w.sourceQemu !== 'pre-switchover' || w.destinationQemu !== 'receiving') return [];
  return [step('source: lets both QEMUs go on', w, { sourceQemu: 'sending', runWhenLoaded: true })];
}

function peers(w: World): PeerState[] {
  const old: PeerState[] = [{ kind: 'unreachable' }, ...saidStates(w.said)];
  return w.destination === undefined && w.destinationUp ? [...old, { kind: 'unknown' }] : old;
}

function cancelledQemu(w: World): Partial<World>[] {
  switch (w.sourceQemu) {
    case 'copying':
    case 'pre-switchover':
    case 'sending':
      return [{ sourceQemu: 'running' }, { sourceQemu: 'stopped' }];
    case 'serving':
    case 'severed':
      return [{ sourceQemu: 'stopped', memory: w.memory === 'whole' ? 'whole' : 'severed' }];
    case 'none':
    case 'running':
    case 'sent':
    case 'stopped':
      return []; // it was over before
    default:
      return w.sourceQemu satisfies never;
  }
}

/** What a decision changes; several where QEMU may do one thing or the other. */
function effects(rules: Rules, w: World, decision: SourceDecision): Partial<World>[] {
  switch (decision.action) {
    case 'none':
    case 'wait':
    case 'ask-operator':
    case 'tell-look':
      return [];
    case 'note':
      return [{ ...noted(rules, w, decision.event), live: false }];
    case 'cancel-migration':
      return cancelledQemu(w);
    case 'continue-vm':
      return w.sourceQemu === 'none' ? [] : [{ sourceQemu: 'running' }];
    case 're-attach':
      return [{ sourceDevice: true }];
    case 'refuse-hand-over':
      return w.storeAtSource ? [{ flying: w.flying | FLYING.sourceRefusal }] : [];
    case 'hand-over':
      return w.storeAtSource ? [{ flying: w.flying | FLYING.commit }] : [];
    case 'tell-cancel':
      return [{ sent: w.sent | SENT.cancel }];
    case 'resume-copy':
      return w.listening && w.sourceQemu === 'severed'
        ? [{ sourceQemu: 'serving', memory: 'partial', listening: false }]
        : [];
    case 'discard-vm':
      return [{ sourceQemu: 'none', memory: w.memory === 'whole' ? 'whole' : 'severed' }];
    case 'release':
      return [{ sourceClaims: false }];
    case 'pause-vm':
      return runsAtSource(w) ? [{ sourceQemu: 'stopped' }] : [];
    default:
      return decision satisfies never;
  }
}

function recover(rules: Rules, w: World): Steps {
  const { sourceLook: look } = w;
  if (look === undefined) {
    if (w.source.kind === 'ended') return [];
    const record: Standing = w.storeAtSource ? w.record : 'unreachable';
    return [step('source: looks', w, { sourceLook: { record, qemu: w.sourceQemu } })];
  }
  const steps: Steps = [step('source: looks again', w, { sourceLook: undefined })];
  for (const peer of peers(w)) {
    for (const patienceOver of peer.kind === 'unreachable' ? [false, true] : [false]) {
      const fault = patienceOver && w.destinationUp;
      if (fault && w.faults === 0) continue;
      const decision = rules.recoverSource({
        ...{ state: w.source, asked: w.asked, strategy: rules.strategy },
        ...look,
        ...{ device: w.sourceDevice, claims: w.sourceClaims, peer, patienceOver },
      });
      const what = decision.action === 'note' ? `notes "${decision.event}"` : decision.action;
      const label = `source (destination: ${peer.kind}): ${what}: ${decision.reason}`;
      for (const change of effects(rules, w, decision))
        steps.push(step(label, w, { ...change, sourceLook: undefined }, fault));
    }
  }
  return steps;
}

/** Everything that the source's daemon may do next. */
export function sourceSteps(rules: Rules, w: World): Steps {
  if (!w.sourceUp) return [step('the daemon of the source starts', w, { sourceUp: true })];
  const { source } = w;
  const steps: Steps = [];
  if (w.faults > 0)
    steps.push(
      step(
        'the daemon of the source is killed',
        w,
        { sourceUp: false, live: false, sourceLook: undefined },
        true,
      ),
    );
  if (!w.live || source.kind !== 'running') return [...steps, ...recover(rules, w)];
  if (source.committed) {
    if (!rules.votes) steps.push(...goOn(w));
    return [...steps, ...recover(rules, w)];
  }
  const known = w.storeAtSource && w.record !== 'undecided';
  if (w.asked && known)
    steps.push(
      ...(rules.votes
        ? recover(rules, w)
        : [step('source: notes the commit', w, noted(rules, w, 'committed'))]),
    );
  else steps.push(...(w.asked ? ask(rules, w) : drive(rules, w)));
  if (w.faults > 0) {
    const change = w.asked ? { live: false } : noted(rules, w, 'cancelled');
    steps.push(step('the user cancels, or a wait of the source is over', w, change, true));
  }
  return steps;
}

/** A change after which the destination's copy is older than the VM. */
export function outdating(w: World): boolean {
  return runsAtSource(w) && (w.destinationQemu === 'loaded' || w.destinationQemu === 'running');
}
