/** What the model executes: the real tables and decisions, or a mistake in their place. */
import { transition } from '../../machine.ts';
import { recoverDestination } from '../destination-recovery.ts';
import { incomingTransition } from '../incoming.ts';
import { receive } from '../messages.ts';
import { recoverSource } from '../source-recovery.ts';

export interface Rules {
  strategy: 'precopy' | 'postcopy';
  transition: typeof transition;
  incomingTransition: typeof incomingTransition;
  receive: typeof receive;
  recoverSource: typeof recoverSource;
  recoverDestination: typeof recoverDestination;
  /** Asks for the commit only when the destination has voted, and QEMU cannot start the VM on the source by itself. */
  votes: boolean;
  /** Takes a question to the store that was not answered for one that was refused. */
  silenceIsNo: boolean;
}

export function realRules(strategy: Rules['strategy']): Rules {
  return {
    strategy,
    transition,
    incomingTransition,
    receive,
    recoverSource,
    recoverDestination,
    votes: true,
    silenceIsNo: false,
  };
}
