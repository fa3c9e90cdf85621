/** `shadowferry migrations --watch`: the table of migrations, as long as somebody looks. */
import { setTimeout as delay } from 'node:timers/promises';
import { pauseFor } from '../base/pause-for.ts';
import { formatBytes, formatMs, formatRate } from '../base/units.ts';
import { API } from '../daemon/api/contract.ts';
import type { Migration } from '../daemon/api/model.ts';
import type { DaemonClient } from '../daemon/client/client.ts';
import { reasonOf } from '../errors.ts';
import { cancelOnSignal, print, say } from './options.ts';
import { printable } from './shadow-format.ts';

/** Ended ones that are shown below those that wait or run. */
const ENDED = 10;
/** Changes that come together are shown together, ms. */
const TOGETHER_MS = 150;

export type Row = Pick<
  Migration,
  | 'id'
  | 'kind'
  | 'vm'
  | 'source'
  | 'destination'
  | 'state'
  | 'phase'
  | 'queue'
  | 'held'
  | 'copy'
  | 'ending'
  | 'createdMs'
  | 'totalMs'
  | 'blackoutMs'
  | 'error'
>;

function stateText({ state, queue, held, phase, ending }: Row): string {
  switch (state) {
    case 'queued':
      return `waits (${queue?.position ?? '?'})`;
    case 'open':
      return held ? 'waits for you' : (phase ?? 'begins');
    case 'ended':
      return ending ?? 'ended';
    default:
      return state satisfies never;
  }
}

function aboutText({ state, queue, held, copy, totalMs, blackoutMs, error, id }: Row): string {
  if (state === 'queued') return queue?.reason ?? '';
  if (held) return `"shadowferry confirm ${id}" hands it over`;
  if (state === 'open') {
    if (copy === null) return '';
    const { transferredBytes, remainingBytes, rateBps, etaMs } = copy;
    const eta = etaMs === null ? 'no end at this rate' : `${formatMs(etaMs)} left`;
    return `${formatBytes(transferredBytes)} sent, ${formatBytes(remainingBytes)} remain, ${formatRate(rateBps)}, ${eta}`;
  }
  const times = [
    ...(totalMs === null ? [] : [formatMs(totalMs)]),
    ...(blackoutMs === null ? [] : [`blackout ${formatMs(blackoutMs)}`]),
    ...(error === null ? [] : [`${error.message} (${error.code})`]),
  ];
  return times.join(', ');
}

const cellsOf = (row: Row): string[] =>
  [
    row.id,
    row.vm,
    row.kind === 'migration' ? `${row.source} → ${row.destination}` : `${row.kind} on ${row.source}`,
    stateText(row),
    aboutText(row),
  ].map(printable);

/** The table as lines of at most `width` characters. Pure. */
export function renderTable(rows: readonly Row[], width: number): string[] {
  if (rows.length === 0) return ['There was no migration.'];
  const cells = rows.map(cellsOf);
  const head = ['ID', 'VM', 'WAY', 'STATE', ''];
  const widths = head.map((text, n) => Math.max(text.length, ...cells.map((row) => row[n]?.length ?? 0)));
  const line = (row: readonly string[]) => {
    const text = row.map((cell, n) => (n === row.length - 1 ? cell : cell.padEnd(widths[n] ?? 0))).join('  ');
    return text.length <= width ? text.trimEnd() : `${text.slice(0, width - 1)}…`;
  };
  return [line(head), ...cells.map(line)];
}

/** What waits and runs, in the order of the queue, and the last ones that ended. Pure. */
export function shownRows(all: readonly Row[]): Row[] {
  const of = (state: Row['state']) => all.filter((row) => row.state === state);
  const queued = of('queued').sort((a, b) => (a.queue?.position ?? 0) - (b.queue?.position ?? 0));
  const ended = of('ended').sort((a, b) => b.createdMs - a.createdMs);
  return [...of('open'), ...queued, ...ended.slice(0, ENDED)];
}

/** Shows tables one over the other on a terminal; elsewhere only lines that are new. */
export class TableView {
  #lines = 0;
  #before = new Set<string>();
  readonly #out: Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'>;

  constructor(out: Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'> = process.stdout) {
    this.#out = out;
  }

  show(rows: readonly Row[]): void {
    if (!this.#out.isTTY) {
      // not in columns, whose width would make lines new that are not
      const lines = rows.map((row) => cellsOf(row).join('  ').trimEnd());
      for (const line of lines) if (!this.#before.has(line)) this.#out.write(`${line}\n`);
      this.#before = new Set(lines);
      return;
    }
    const lines = renderTable(rows, this.#out.columns || 120);
    const up = this.#lines === 0 ? '' : `\u001b[${this.#lines}A`;
    this.#out.write(`${up}\u001b[J${lines.join('\n')}\n`);
    this.#lines = lines.length;
  }
}

async function rowsOf(client: DaemonClient, vm: string | undefined): Promise<Row[]> {
  const rows: Row[] = [];
  for (const state of ['queued', 'open'] as const) {
    const piece = (cursor: string | undefined) => ({ params: {}, query: { vm, state, cursor, limit: 200 } });
    for await (const each of client.items(API.listMigrations, piece)) rows.push(each);
  }
  const { items } = await client.call(API.listMigrations, {
    params: {},
    query: { vm, state: 'ended', limit: ENDED },
  });
  return shownRows([...rows, ...items]);
}

/** Watches the migrations of a host until the user ends it. */
export async function watchRemote(
  client: DaemonClient,
  vm: string | undefined,
  json: boolean,
): Promise<void> {
  const signal = cancelOnSignal();
  const view = new TableView();
  let due: Promise<void> | undefined;
  const show = () => {
    due ??= delay(TOGETHER_MS)
      .then(async () => {
        due = undefined;
        view.show(await rowsOf(client, vm));
      })
      .catch((error: unknown) => say(printable(reasonOf(error))));
  };
  try {
    for await (const item of client.events({ signal })) {
      if (item.kind === 'look') {
        if (json)
          for (const row of await rowsOf(client, vm)) print(JSON.stringify({ type: 'migration', ...row }));
        else show();
        continue;
      }
      const { type, atMs, data } = item.event;
      if (!type.startsWith('migration.') || (vm !== undefined && data.vm !== vm)) continue;
      if (json) print(JSON.stringify({ type, atMs, ...data }));
      else show();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  await due;
}

/** Watches what `read` gives, by looking again and again. */
export async function watchByLooking(read: () => Row[], json: boolean): Promise<void> {
  const signal = cancelOnSignal();
  const view = new TableView();
  const told = new Map<string, string>();
  while (!signal.aborted) {
    const rows = shownRows(read());
    if (!json) view.show(rows);
    else {
      for (const row of rows) {
        const text = JSON.stringify({ type: 'migration', ...row });
        if (told.get(row.id) !== text) print(text);
        told.set(row.id, text);
      }
    }
    await pauseFor(500, signal);
  }
}
