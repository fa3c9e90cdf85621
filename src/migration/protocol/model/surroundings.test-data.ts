/** What may happen by itself: in the store, in both QEMUs, on the wires; and what may go wrong there. */

import type { Step } from '../explore.ts';
import { incomingEnded } from '../incoming.ts';
import type { Rules } from './rules.test-data.ts';
import { FLYING, type World } from './world.test-data.ts';

type Change = Partial<World>;
type Happening = [label: string, change: Change];

/** A compare-and-swap arrives, however late. */
function* store(w: World): Generator<Happening> {
  const from = (expected: World['record'], to: World['record']) => (w.record === expected ? to : w.record);
  const arrivals: [keyof typeof FLYING, World['record']][] = [
    ['commit', from('undecided', 'committed')],
    ['sourceRefusal', from('undecided', 'refused')],
    ['destinationRefusal', from('undecided', 'refused')],
    ['handBack', from('committed', 'returned')],
  ];
  for (const [what, record] of arrivals) {
    if ((w.flying & FLYING[what]) === 0) continue;
    yield [`store: "${what}" arrives, the record is ${record}`, { record, flying: w.flying & ~FLYING[what] }];
  }
  if (!w.storeAtSource) yield ['the source reaches the store again', { storeAtSource: true }];
  if (!w.storeAtDestination) yield ['the destination reaches the store again', { storeAtDestination: true }];
}

/** QEMU starts the VM again by itself, or stands still: versions differ. */
const FALLS_BACK: readonly Change[] = [{ sourceQemu: 'running' }, { sourceQemu: 'stopped' }];

function loaded(rules: Rules, w: World): Change {
  const memory = rules.strategy === 'precopy' ? 'whole' : 'partial';
  return w.runWhenLoaded
    ? { destinationQemu: 'running', ran: true, memory }
    : { destinationQemu: 'loaded', memory };
}

const hasIt = (w: World) =>
  w.destinationQemu === 'loaded' || w.destinationQemu === 'running' || w.destinationQemu === 'stopped';

const streams = ({ sourceQemu }: World) =>
  sourceQemu === 'copying' || sourceQemu === 'pre-switchover' || sourceQemu === 'sending';

function* qemus(rules: Rules, w: World): Generator<Happening> {
  if (w.destinationQemu === 'receiving' && !streams(w))
    yield ['QEMU of the destination ends, as its stream did', { destinationQemu: 'none' }];
  switch (w.sourceQemu) {
    case 'copying':
      if (w.destinationQemu === 'receiving')
        yield ['QEMU of the source waits to hand over', { sourceQemu: 'pre-switchover' }];
      else yield ['QEMU of the source sees that nobody takes the copy', { sourceQemu: 'running' }];
      return;
    case 'sending':
      if (w.destinationQemu === 'receiving') yield ['QEMU of the destination has loaded', loaded(rules, w)];
      else if (hasIt(w)) {
        const sourceQemu = rules.strategy === 'precopy' ? 'sent' : 'serving';
        yield [`QEMU of the source: ${sourceQemu}`, { sourceQemu }];
      } else for (const change of FALLS_BACK) yield ['QEMU of the source falls back', change];
      return;
    case 'serving':
      if (w.memory === 'partial' && hasIt(w))
        yield ['the last page is sent', { sourceQemu: 'sent', memory: 'whole' }];
      else if (w.destinationQemu === 'none')
        yield ['QEMU of the source sees that nobody is there', { sourceQemu: 'severed' }];
      return;
    case 'none':
    case 'running':
    case 'pre-switchover':
    case 'sent':
    case 'severed':
    case 'stopped':
      return;
    default:
      return w.sourceQemu satisfies never;
  }
}

function* faults(w: World): Generator<Happening> {
  for (const what of ['commit', 'sourceRefusal', 'destinationRefusal', 'handBack'] as const)
    if ((w.flying & FLYING[what]) !== 0)
      yield [`"${what}" is lost on its way to the store`, { flying: w.flying & ~FLYING[what] }];
  if (w.storeAtSource) yield ['the source is cut off from the store', { storeAtSource: false }];
  if (w.storeAtDestination)
    yield ['the destination is cut off from the store', { storeAtDestination: false }];
  if (w.destinationQemu === 'receiving')
    yield [
      'the stream breaks, and the destination sees it first',
      { destinationQemu: 'none', runWhenLoaded: false },
    ];
  if (w.sourceQemu === 'copying') yield ['the stream breaks', { sourceQemu: 'running' }];
  if (w.sourceQemu === 'sending') for (const change of FALLS_BACK) yield ['the stream breaks', change];
  if (w.sourceQemu === 'serving') yield ['the stream breaks', { sourceQemu: 'severed', memory: 'severed' }];
  const severed: Change = w.memory === 'whole' ? {} : { memory: 'severed' };
  if (w.sourceQemu !== 'none' && w.source.kind !== 'ended')
    yield ['QEMU of the source is killed', { sourceQemu: 'none', sourceKilled: true, ...severed }];
  if (w.destinationQemu !== 'none' && w.destination !== undefined && !incomingEnded(w.destination)) {
    const change = { destinationQemu: 'none', destinationDevice: false, destinationKilled: true } as const;
    yield ['QEMU of the destination is killed', { ...change, runWhenLoaded: false, listening: false }];
  }
}

/** Everything that may happen without the daemons. */
export function* surroundings(rules: Rules, w: World): Generator<Step<World>> {
  for (const [label, change] of store(w)) yield { label, to: { ...w, ...change }, fault: false };
  for (const [label, change] of qemus(rules, w)) yield { label, to: { ...w, ...change }, fault: false };
  if (w.faults === 0) return;
  for (const [label, change] of faults(w))
    yield { label, to: { ...w, ...change, faults: w.faults - 1 }, fault: true };
}
