/** `shadowferry migrations`: what the journal of the standing lab holds, or that of a host whose daemon is asked. */
import type { Command } from 'commander';
import { formatMs } from '../base/units.ts';
import { API } from '../daemon/api/contract.ts';
import type { Migration } from '../daemon/api/model.ts';
import type { DaemonClient } from '../daemon/client/client.ts';
import { ShadowferryError } from '../errors.ts';
import type { Lab } from '../lab/lab.ts';
import { openStandingLab } from '../lab/standing.ts';
import { degradedMigration, summaryOf } from '../migration/history.ts';
import type { JournalMigration } from '../migration/journal.ts';
import { swapOf } from '../migration/swap/history.ts';
import { phaseOf } from '../observe/explain.ts';
import { fixedStateDirectory, print } from './options.ts';
import { addRemoteOptions, remoteOf } from './remote.ts';
import { type Row, watchByLooking, watchRemote } from './watch-migrations.ts';

/** Only a daemon has a queue. */
const notQueued: { queue: Migration['queue'] } = { queue: null };

function entry(lab: Lab, migration: JournalMigration) {
  const { id, vm, source, destination, ending } = migration;
  const swap = swapOf(migration);
  const figures = summaryOf(migration);
  const degraded = ending === 'degraded' && degradedMigration(lab.journal, vm)?.id === id;
  return {
    id,
    kind: swap?.kind ?? ('migration' as const),
    vm,
    source,
    destination,
    ...(swap === undefined ? {} : { nic: swap.device ?? null, with: swap.with }),
    begunMs: migration.created,
    ending,
    ...notQueued,
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
    const { queue } = each;
    entries.push({ ...known, queue, degraded: ending === 'degraded', totalMs, blackoutMs, error });
  }
  return entries.reverse();
}

function show(entries: readonly Entry[], json: boolean | undefined): void {
  if (json) print(JSON.stringify({ type: 'migrations', migrations: entries }));
  else print(entries.map(render).join('\n') || 'There was no migration.');
}

function render(each: Entry): string {
  const { id, kind, vm, source, destination, ending, degraded, queue, totalMs, blackoutMs, error } = each;
  const waits = queue === null ? 'not ended' : `waits (${queue.position}): ${queue.reason}`;
  const how = ending === 'degraded' && !degraded ? 'degraded, attached since' : (ending ?? waits);
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

/** A migration of the lab's journal as the table of `--watch` has it. */
function rowOf(lab: Lab, migration: JournalMigration): Row {
  const { id, kind, vm, source, destination, ending, begunMs, totalMs, blackoutMs, error } = entry(
    lab,
    migration,
  );
  return {
    ...{ id, kind, vm, source, destination, ending, totalMs, blackoutMs, error, createdMs: begunMs },
    ...{ queue: null, held: false, copy: null, phase: phaseOf(migration) ?? null },
    state: ending === null ? 'open' : 'ended',
  };
}

async function migrations(
  vm: string | undefined,
  options: { json?: boolean; watch?: boolean },
  command: Command,
): Promise<void> {
  const remote = await remoteOf(command);
  if (remote !== undefined && options.watch) return watchRemote(remote, vm, options.json ?? false);
  if (remote !== undefined) return show(await remoteEntries(remote, vm), options.json);
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    const names = (await lab.ownership.list()).map((owned) => owned.vm);
    if (vm !== undefined && !names.includes(vm)) {
      const allowed = names.join(', ') || '(there is none)';
      throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: vm, allowed });
    }
    if (options.watch) {
      const read = () => lab.journal.migrations(vm === undefined ? {} : { vm }).map((one) => rowOf(lab, one));
      await watchByLooking(read, options.json ?? false);
      return;
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
      .option('--watch', 'go on, and show what changes until it is ended')
      .option('--json', 'print one line of JSON; with --watch one for each change'),
  ).action(migrations);
}
