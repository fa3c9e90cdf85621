/** `shadowferry explain ID`: what happened in a migration and why. */
import type { Command } from 'commander';
import { API } from '../daemon/api/contract.ts';
import type { DaemonClient } from '../daemon/client/client.ts';
import { ShadowferryError } from '../errors.ts';
import { openStandingLab } from '../lab/standing.ts';
import type { Journal, JournalMigration } from '../migration/journal.ts';
import { type ExplainedMigration, explainMigration, traceOf } from '../observe/explain.ts';
import { fixedStateDirectory, print } from './options.ts';
import { addRemoteOptions, remoteOf } from './remote.ts';
import { printable } from './shadow-format.ts';

/** What is asked of the journal of the standing lab. */
async function inLab<T>(id: string, ask: (journal: Journal, migration: JournalMigration) => T): Promise<T> {
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    const { journal } = lab;
    const migration = journal.find(id);
    if (migration === undefined) throw new ShadowferryError('UNKNOWN_MIGRATION', { field: 'id', value: id });
    return ask(journal, migration);
  } finally {
    lab.close();
  }
}

/** Text for people; what comes from a guest or another host cannot act on the terminal. */
export function renderExplanation({ id, summary, lines, advice }: ExplainedMigration): string {
  const first = lines[0]?.atMs ?? 0;
  const rows = lines.map(
    ({ atMs, text }) => `${`+${Math.round(atMs - first)}`.padStart(8)} ms  ${printable(text)}`,
  );
  const what = advice.map((text) => `→ ${printable(text)}`);
  return [`${printable(id)}: ${printable(summary)}`, ...rows, ...what].join('\n');
}

/** The copy as data, for a program or a bug report. @throws NO_TRACE */
async function printTrace(id: string, remote: DaemonClient | undefined): Promise<void> {
  const { trace } =
    remote === undefined
      ? await inLab(id, (journal) => ({ trace: traceOf(journal.notes(id)) }))
      : await remote.call(API.traceMigration, { params: { id }, query: {} });
  if (trace === undefined || trace === null) throw new ShadowferryError('NO_TRACE', { id });
  print(JSON.stringify(trace));
}

interface Options {
  json?: boolean;
  trace?: boolean;
}

async function explain(id: string, options: Options, command: Command): Promise<void> {
  const remote = await remoteOf(command);
  if (options.trace) return printTrace(id, remote);
  const explanation =
    remote === undefined
      ? await inLab(id, (journal, migration) =>
          explainMigration(migration, journal.steps(id), journal.notes(id)),
        )
      : await remote.call(API.explainMigration, { params: { id }, query: {} });
  if (options.json) print(JSON.stringify({ type: 'explanation', ...explanation }));
  else print(renderExplanation(explanation));
}

export function registerExplain(program: Command): void {
  addRemoteOptions(
    program
      .command('explain')
      .description('tell what happened in a migration and why, from the journal')
      .argument('<id>', 'of the migration')
      .option('--trace', 'print what the copy of the memory looked like, as JSON')
      .option('--json', 'print one line of JSON'),
  ).action(explain);
}
