/** `shadowferry migrations`: what the journal of the standing lab holds, or that of a host whose daemon is asked. */
import type { Command } from 'commander';
import { formatMs } from '../base/units.ts';
import { API } from '../daemon/api/contract.ts';
import type { DaemonClient } from '../daemon/client/client.ts';
import { ShadowferryError } from '../errors.ts';
import type { Lab } from '../lab/lab.ts';
import { openStandingLab } from '../lab/standing.ts';
import { degradedMigration, summaryOf } from '../migration/history.ts';
import type { JournalMigration } from '../migration/journal.ts';
import { swapOf } from '../migration/swap/history.ts';
import { fixedStateDirectory, print } from './options.ts';
import { addRemoteOptions, remoteOf } from './remote.ts';

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

type Entry = ReturnType<typeof entry>;

/** What the daemon of another host has in its journal, the oldest first like here. */
async function remoteEntries(client: DaemonClient, vm: string | undefined): Promise<Entry[]> {
  const entries: Entry[] = [];
  const piece = (cursor: string | undefined) => ({ params: {}, query: { vm, cursor, limit: 200 } });
  for await (const each of client.items(API.listMigrations, piece)) {
    const { id, kind, vm: name, source, destination, ending, totalMs, blackoutMs, error } = each;
    const swap = kind === 'migration' ? {} : { nic: each.nic, with: each.with ?? '' };
    const known = { id, kind, vm: name, source, destination, ...swap, begunMs: each.createdMs, ending };
    entries.push({ ...known, degraded: ending === 'degraded', totalMs, blackoutMs, error });
  }
  return entries.reverse();
}

function show(entries: readonly Entry[], json: boolean | undefined): void {
  if (json) print(JSON.stringify({ type: 'migrations', migrations: entries }));
  else print(entries.map(render).join('\n') || 'There was no migration.');
}

function render(each: Entry): string {
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

async function migrations(
  vm: string | undefined,
  options: { json?: boolean },
  command: Command,
): Promise<void> {
  const remote = await remoteOf(command);
  if (remote !== undefined) return show(await remoteEntries(remote, vm), options.json);
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    const names = (await lab.ownership.list()).map((owned) => owned.vm);
    if (vm !== undefined && !names.includes(vm)) {
      const allowed = names.join(', ') || '(there is none)';
      throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: vm, allowed });
    }
    const entries = lab.journal.migrations(vm === undefined ? {} : { vm }).map((one) => entry(lab, one));
    show(entries, options.json);
  } finally {
    lab.close();
  }
}

export function registerMigrations(program: Command): void {
  addRemoteOptions(
    program
      .command('migrations')
      .description('list the migrations, swaps and rescues of the lab, or of a host whose daemon is asked')
      .argument('[vm]', 'only those of this VM')
      .option('--json', 'print one line of JSON'),
  ).action(migrations);
}
