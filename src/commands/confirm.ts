/** The question before the hand-over: the VM is paused on the source, ready to run on the destination. */
import { createInterface } from 'node:readline';
import { raceSignal } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import type { MigrationRequest } from '../migration/request.ts';
import { print, say } from './options.ts';

/**
 * Resolves at the next line on standard input.
 * @throws CANCELLED at its end, as nobody can answer any more; the signal's reason
 */
export async function askBeforeHandOver(
  { vm, destination }: Pick<MigrationRequest, 'vm' | 'destination'>,
  json: boolean,
  cancel: AbortSignal,
): Promise<void> {
  if (json) print(JSON.stringify({ type: 'hold', vm, destination }));
  else say(`VM "${vm}" is paused and ready on "${destination}". Enter hands it over, Ctrl-C takes it back.`);
  // no line editing: it would take Ctrl-C away from the process
  const lines = createInterface({ input: process.stdin, terminal: false });
  try {
    const answer = new Promise<void>((resolve, reject) => {
      lines.once('line', () => resolve());
      lines.once('close', () => reject(new ShadowferryError('CANCELLED', { phase: 'switchover' })));
    });
    answer.catch(() => {}); // closed by ourselves
    await raceSignal(answer, cancel);
  } finally {
    lines.close();
    process.stdin.pause(); // or it would keep the process
  }
}
