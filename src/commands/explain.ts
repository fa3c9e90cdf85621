/** `shadowferry explain ID`: what happened in a migration and why. */
import type { Command } from 'commander';
import { API } from '../daemon/api/contract.ts';
import { ShadowferryError } from '../errors.ts';
import { openStandingLab } from '../lab/standing.ts';
import { type ExplainedMigration, explainMigration } from '../observe/explain.ts';
import { fixedStateDirectory, print } from './options.ts';
import { addRemoteOptions, remoteOf } from './remote.ts';
import { printable } from './shadow-format.ts';

async function inLab(id: string): Promise<ExplainedMigration> {
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    const { journal } = lab;
    const migration = journal.find(id);
    if (migration === undefined) throw new ShadowferryError('UNKNOWN_MIGRATION', { field: 'id', value: id });
    return explainMigration(migration, journal.steps(id), journal.notes(id));
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

async function explain(id: string, options: { json?: boolean }, command: Command): Promise<void> {
  const remote = await remoteOf(command);
  const explanation =
    remote === undefined
      ? await inLab(id)
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
      .option('--json', 'print one line of JSON'),
  ).action(explain);
}
