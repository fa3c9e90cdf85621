/** Which events say that a VM's traffic begins to wait for this daemon, or does so no more. Pure. */

/** Phases of a migration or swap in which the source's daemon has something to do while traffic waits. */
const PHASES: readonly unknown[] = ['detach', 'switchover', 'attach'];
/** States of an incoming one in which the destination's daemon has. */
const STATES: readonly unknown[] = ['ready', 'starting', 'active'];

/** @returns what it is about, and whether it is urgent from here on; undefined where an event says nothing of this */
export function urgencyOf(
  type: string,
  { id, phase, state }: Record<string, unknown>,
): { id: string; urgent: boolean } | undefined {
  if (typeof id !== 'string') return undefined;
  switch (type) {
    case 'migration.phase':
      return { id, urgent: PHASES.includes(phase) };
    case 'migration.ended':
      return { id, urgent: false };
    case 'incoming.state':
      return { id, urgent: STATES.includes(state) };
    default:
      return undefined;
  }
}
