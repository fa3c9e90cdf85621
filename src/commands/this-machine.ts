/** What commands about the machine on which we run share: its journal and stores, and that nobody else works on it. */
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { lockVm } from '../lab/vm-lock.ts';
import { Journal } from '../migration/journal.ts';
import { AbilityStore } from '../shadow/net/abilities.ts';
import { ShadowStore } from '../shadow/store/store.ts';
import { fixedStateDirectory } from './options.ts';

export interface ThisMachine {
  journal: Journal;
  abilities: AbilityStore;
  shadows: ShadowStore;
}

/**
 * Goes on when whoever started us hangs up: a shell that came in through the very interface that is worked on. What is
 * begun is brought to its end, and is in the journal.
 */
function outliveTheTerminal(): void {
  process.on('SIGHUP', () => {});
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
}

/**
 * Runs `act` with what is kept of this machine, in its state directory.
 * @throws MIGRATION_BUSY when another process works on this machine, and what `act` throws
 */
export async function withThisMachine(act: (machine: ThisMachine) => Promise<void>): Promise<void> {
  outliveTheTerminal();
  const state = fixedStateDirectory();
  mkdirSync(state, { recursive: true, mode: 0o700 });
  using _lock = lockVm(state, 'this-machine');
  const journal = new Journal(join(state, 'journal.db'));
  const shadows = new ShadowStore(join(state, 'shadows.db'));
  try {
    // we hold the lock, so whoever began these has died
    for (const { id } of journal.migrations({ vm: hostname(), open: true })) {
      journal.note(id, 'error', 'its process ended before it did');
      journal.close(id, 'stuck', { left: ['its process ended before it did'] });
    }
    await act({ journal, abilities: new AbilityStore(join(state, 'abilities.json')), shadows });
  } finally {
    shadows.dispose();
    journal.dispose();
  }
}
