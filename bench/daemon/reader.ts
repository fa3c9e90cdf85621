/** Readers of events that do not read: they are dropped, the daemon does not grow, and who reads misses nothing. */
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { initialState } from '../../src/migration/machine.ts';
import type { Measurement } from '../harness.ts';
import { ask, counterIn, makeDaemon, type OneDaemon, residentBytes } from './one.ts';

/** With the one that reads, as many as one principal may have. */
const STALLED = 15;
/** Migrations that another process writes into the journal; the daemon tells of each twice. */
const MIGRATIONS = 5_000;
const WARM = 1_000;
/** Written at once, and the pause until the daemon has looked again. */
const BATCH = 100;
const BATCH_MS = 550;
const WHY_BYTES = 300;
const CAUGHT_UP_MS = 10_000;
const DROPPED = 'shadowferry_event_streams_dropped_total';

const events = (socket: Socket) => socket.write('GET /v1/events HTTP/1.1\r\nhost: daemon\r\n\r\n');

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.on('error', () => {}); // whoever is dropped may be reset
  return socket;
}

/** Counts the migrations that it is told of. */
class Reading {
  told = 0;
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    let rest = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      this.told += lines.filter((line) => line === 'event: migration.ended').length;
    });
  }

  static async open(path: string): Promise<Reading> {
    const socket = await connected(path);
    const reading = new Reading(socket);
    events(socket);
    return reading;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Writes migrations that have ended into the journal, in bits that who reads can follow. */
async function writeMigrations(journal: string, first: number, many: number): Promise<void> {
  const db = new DatabaseSync(journal, { timeout: 10_000 });
  try {
    const add = db.prepare(
      `INSERT INTO migration (id, vm, source, destination, request, state, created, ended, ending, result)
       VALUES (?, 'web1', 'alpha', 'beta', '{}', ?, ?, ?, 'rolled-back', ?)`,
    );
    const state = JSON.stringify(initialState(false));
    const error = { code: 'INTERNAL', message: 'x'.repeat(WHY_BYTES), fix: 'none' };
    const result = JSON.stringify({ totalMs: 5, blackoutMs: 1, memoryBytes: 1, error });
    for (let n = first; n < first + many; n += BATCH) {
      db.exec('BEGIN IMMEDIATE');
      for (let at = n; at < Math.min(n + BATCH, first + many); at += 1)
        add.run(`m${String(at).padStart(8, '0')}`, state, Date.now(), Date.now(), result);
      db.exec('COMMIT');
      await delay(BATCH_MS);
    }
  } finally {
    db.close();
  }
}

/** The most that a process has been seen to have until it is asked, bytes. */
function watchPeak(pid: number): () => number {
  let peak = residentBytes(pid);
  const timer = setInterval(() => {
    peak = Math.max(peak, residentBytes(pid));
  }, 50);
  return () => {
    clearInterval(timer);
    return Math.max(peak, residentBytes(pid));
  };
}

async function untilTold(reading: Reading, many: number): Promise<void> {
  const until = performance.now() + CAUGHT_UP_MS;
  while (reading.told < many && performance.now() < until) await delay(50);
}

async function measureOn({ daemon, socket, state }: OneDaemon): Promise<Measurement> {
  await daemon.start();
  const { pid } = daemon;
  if (pid === undefined) throw new Error('the daemon ended');
  const journal = join(state, 'journal.db');
  const reading = await Reading.open(socket);
  const stalled: Socket[] = [];
  try {
    await writeMigrations(journal, 0, WARM);
    await untilTold(reading, WARM);
    const before = residentBytes(pid);
    for (let n = 0; n < STALLED; n += 1) {
      const one = await connected(socket);
      events(one);
      stalled.push(one); // nobody listens to its data, so nothing is read from it
    }
    const peakOf = watchPeak(pid);
    await writeMigrations(journal, WARM, MIGRATIONS);
    await untilTold(reading, WARM + MIGRATIONS);
    const peak = peakOf();
    const dropped = counterIn((await ask(socket, '/metrics')).body, DROPPED);
    const missed = WARM + MIGRATIONS - reading.told;
    return {
      metrics: {
        kept: STALLED - dropped,
        missed,
        beforeMB: before / 1e6,
        growthMB: (peak - before) / 1e6,
      },
      flags: [],
      raw: { stalled: STALLED, events: 2 * MIGRATIONS, before, peak, after: residentBytes(pid) },
    };
  } finally {
    reading.close();
    for (const each of stalled) each.destroy();
  }
}

export async function measureReaders(): Promise<Measurement> {
  await using one = makeDaemon();
  return await measureOn(one);
}
