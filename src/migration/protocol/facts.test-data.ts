/** Every combination of facts that a daemon can find, whether or not the protocol leads to it. */
import { PHASES, type State } from '../machine.ts';
import { type DestinationFacts, SOURCE_PEERS } from './destination-recovery.ts';
import { INCOMING_KINDS, type IncomingState } from './incoming.ts';
import { DESTINATION_VIEWS, MEMORY_VIEWS, SOURCE_VIEWS } from './qemu-view.ts';
import { STANDINGS } from './record.ts';
import type { PeerState, SourceFacts } from './source-recovery.ts';

const BOTH = [false, true] as const;

export const INCOMING_STATES: readonly IncomingState[] = INCOMING_KINDS.flatMap((kind): IncomingState[] =>
  kind === 'attached' || kind === 'settled' ? BOTH.map((degraded) => ({ kind, degraded })) : [{ kind }],
);

export const STATES: readonly State[] = [
  ...PHASES.flatMap((phase) =>
    BOTH.flatMap((committed) =>
      BOTH.map((degraded): State => ({ kind: 'running', phase, committed, degraded, dryRun: false })),
    ),
  ),
  ...PHASES.map((from): State => ({ kind: 'rolling-back', from })),
  ...(['completed', 'degraded', 'rolled-back', 'planned', 'stuck'] as const).map(
    (ending): State => ({ kind: 'ended', ending }),
  ),
];

const PEERS: readonly PeerState[] = [...INCOMING_STATES, { kind: 'unknown' }, { kind: 'unreachable' }];

export function* allSourceFacts(): Generator<SourceFacts> {
  for (const state of STATES)
    for (const record of STANDINGS)
      for (const qemu of SOURCE_VIEWS)
        for (const peer of PEERS)
          for (const asked of BOTH)
            for (const strategy of ['precopy', 'postcopy'] as const)
              for (const device of BOTH)
                for (const claims of BOTH)
                  for (const patienceOver of peer.kind === 'unreachable' ? BOTH : [false])
                    yield { state, record, qemu, peer, asked, strategy, device, claims, patienceOver };
}

export function* allDestinationFacts(): Generator<DestinationFacts> {
  for (const state of INCOMING_STATES)
    for (const record of STANDINGS)
      for (const qemu of DESTINATION_VIEWS)
        for (const memory of MEMORY_VIEWS)
          for (const peer of SOURCE_PEERS)
            for (const device of BOTH)
              for (const claims of BOTH)
                for (const startRefused of BOTH)
                  for (const neverRan of state.kind === 'starting' && qemu === 'none' ? BOTH : [false])
                    for (const patienceOver of peer === 'unreachable' ? BOTH : [false]) {
                      const told = { startRefused, neverRan, patienceOver };
                      yield { state, record, qemu, memory, peer, device, claims, ...told };
                    }
}
