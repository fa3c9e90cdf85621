/** `shadowferry migrations`: what the journal of the standing lab holds. */
import type { Command } from 'commander';
import { formatMs } from '../base/units.ts';
import { ShadowferryError } from '../errors.ts';
import type { Lab } from '../lab/lab.ts';
import { openStandingLab } from '../lab/standing.ts';
import { degradedMigration, summaryOf } from '../migration/history.ts';
import type { JournalMigration } from '../migration/journal.ts';
import { swapOf } from '../migration/swap/history.ts';
import { fixedStateDirectory, print } from './options.ts';

function entry(lab: Lab, migration: JournalMigration) {
  const { id, vm, source, destination, ending } = migration;
  const swap = swapOf(migration);
  const figures = summaryOf(migration);
  const degraded = ending === 'degraded' && degradedMigration(lab.journal, vm)?.id === id;
  return {
    id,
    kind: swap?.kind ?? 'migration',
    vm,
    source,
    destination,
    ...(swap === undefined ? {} : { nic: swap.device ?? null, with: swap.with }),
    begunMs: migration.created,
    ending,
    /** Whether the VM still lacks the device that this could not give it. */
    degraded,
    totalMs: figures?.totalMs ?? null,
    blackoutMs: figures?.blackoutMs ?? null,
    error: figures?.error ?? null,
  };
}

function render(each: ReturnType<typeof entry>): string {
  const { id, kind, vm, source, destination, ending, degraded, totalMs, blackoutMs, error } = each;
  const how = ending === 'degraded' && !degraded ? 'degraded, attached since' : (ending ?? 'not ended');
  const times = [
    ...(totalMs === null ? [] : [formatMs(totalMs)]),
    ...(blackoutMs === null ? [] : [`blackout ${formatMs(blackoutMs)}`]),
  ];
  const when = new Date(each.begunMs).toISOString();
  const why = error === null ? '' : `  ${error.message} (${error.code})`;
  const what =
    kind === 'migration' ? `${source} → ${destination}` : `${kind} on ${source}, with ${each.with}`;
  return `${id}  ${when}  ${vm} ${what}  ${how}  ${times.join(', ')}${why}`;
}

async function migrations(vm: string | undefined, options: { json?: boolean }): Promise<void> {
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    const names = (await lab.ownership.list()).map((owned) => owned.vm);
    if (vm !== undefined && !names.includes(vm)) {
      const allowed = names.join(', ') || '(there is none)';
      throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: vm, allowed });
    }
    const entries = lab.journal.migrations(vm === undefined ? {} : { vm }).map((one) => entry(lab, one));
    if (options.json) print(JSON.stringify({ type: 'migrations', migrations: entries }));
    else print(entries.map(render).join('\n') || 'There was no migration.');
  } finally {
    lab.close();
  }
}

export function registerMigrations(program: Command): void {
  program
    .command('migrations')
    .description('list the migrations, swaps and rescues of the lab')
    .argument('[vm]', 'only those of this VM')
    .option('--json', 'print one line of JSON')
    .action(migrations);
}
