/** Who says how a migration goes on when a phase failed after the commit. Pure. */
import type { Phase } from './machine.ts';

export interface Failed {
  phase: Phase;
  /** The destination has said what became of the devices. */
  attached: boolean;
  /** Nothing of the VM is left on the source. */
  cleaned: boolean;
  /** The VM ended on the destination. */
  gone: boolean;
}

/**
 * Whether the failure of a phase is what the destination's daemon has found, so that the migration goes on with it:
 * a device that did not come, or work that is left in the guest. Else its daemon is at it still, or will be, and the
 * table is asked. A VM that ended there is the table's too, whatever had been said before: nothing goes on.
 */
export function isLastWord({ phase, attached, cleaned, gone }: Failed): boolean {
  return !gone && ((phase === 'attach' && attached) || cleaned);
}
