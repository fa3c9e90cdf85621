/** `shadowferry cancel` and `shadowferry confirm`: tell a daemon to take a migration back, or to let it go on. */
import type { Command } from 'commander';
import { API } from '../daemon/api/contract.ts';
import { print } from './options.ts';
import { addRemoteOptions, needRemote } from './remote.ts';
import { printable } from './shadow-format.ts';

type Told = 'cancelMigration' | 'confirmMigration';

async function tell(call: Told, id: string, json: boolean, command: Command): Promise<void> {
  const client = await needRemote(command);
  const migration = await client.call(API[call], { params: { id }, query: {}, body: {} });
  if (json) {
    print(JSON.stringify({ type: 'migration', ...migration }));
    return;
  }
  const { vm, state, ending } = migration;
  const what = call === 'cancelMigration' ? 'goes back' : 'goes on';
  print(printable(state === 'ended' ? `${id} has ended: ${ending}.` : `${id} (VM "${vm}") ${what}.`));
}

export function registerControl(program: Command): void {
  const commands = [
    ['cancel', 'cancelMigration', 'cancel a migration of a host whose daemon is asked'],
    ['confirm', 'confirmMigration', 'let a migration hand over that waits for it (--hold)'],
  ] as const;
  for (const [name, call, description] of commands) {
    addRemoteOptions(
      program
        .command(name)
        .description(description)
        .argument('<id>', 'of the migration')
        .option('--json', 'print one line of JSON'),
    ).action((id: string, options: { json?: boolean }, command: Command) =>
      tell(call, id, options.json ?? false, command),
    );
  }
}
