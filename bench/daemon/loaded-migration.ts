/** The outage of a migration between two daemons, while the source's daemon is asked a thousand times a second, or not. */
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { API } from '../../src/daemon/api/contract.ts';
import { ShadowferryError } from '../../src/errors.ts';
import { LabDaemons, type LabHostName } from '../../src/lab/daemons.ts';
import { ApiDriver } from '../../src/lab/faults/api-driver.ts';
import { GUEST_ADDRESS } from '../../src/lab/guest-setup.ts';
import { ensureGuestImage } from '../../src/lab/image/image.ts';
import { startProbes } from '../../src/lab/probe/probes.ts';
import { longestAway } from '../gaps.ts';
import type { Measurement } from '../harness.ts';

const PROGRAM = fileURLToPath(new URL('./load-program.ts', import.meta.url));
export const RATE = 1_000;
const SECONDS = 30;
/** More than all of it: what is measured is what answering costs, not what refusing does. */
const LIMIT = 100_000;
const VM = 'web1';
const QUIET_MS = 2_000;
const APART_MS = 50;
const LOOK_MS = 300;
const END_MS = 120_000;
const BULK_RATE = 200_000;

const Reached = z.object({
  asked: z.number(),
  answered: z.number(),
  perSecond: z.number(),
  statuses: z.record(z.string(), z.number()),
  unanswered: z.number(),
  p50Ms: z.number().nullable(),
  p99Ms: z.number().nullable(),
});
type Reached = z.infer<typeof Reached>;

/** Asks from another process, which yields to everybody: a user's program runs on another machine. */
function load(socket: string): Promise<Reached> {
  const words = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM];
  const args = ['-n', '10', ...words, socket, String(RATE), String(SECONDS)];
  const child = spawn('nice', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      try {
        resolve(Reached.parse(JSON.parse(text)));
      } catch (error) {
        reject(error);
      }
    });
  });
}

/** Two hosts with a daemon each, and one VM that goes there and back. */
export class LoadedMigrations {
  readonly #lab: LabDaemons;
  readonly #driver: ApiDriver;

  private constructor(lab: LabDaemons, driver: ApiDriver) {
    this.#lab = lab;
    this.#driver = driver;
  }

  static async create(): Promise<LoadedMigrations> {
    const image = await ensureGuestImage({ cacheDir: cacheDirectory(), log: () => {} });
    const lab = await LabDaemons.create({
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      members: 1,
      config: () => ({ limits: { requestsPerSecond: LIMIT } }),
    });
    const driver = new ApiDriver(lab, { image, vm: VM });
    try {
      await driver.startVm('a');
      return new LoadedMigrations(lab, driver);
    } catch (error) {
      await lab.dispose();
      throw error;
    }
  }

  /** @returns from its start until it ended, ms. @throws MIGRATION_FAILED */
  async #migrate(source: LabHostName, destination: LabHostName): Promise<number> {
    const began = performance.now();
    const id = await this.#driver.migrate({ source, destination, way: 'postcopy' });
    const { client } = this.#lab.daemons[source];
    for (;;) {
      const { ending, error } = await client.call(API.getMigration, { params: { id }, query: {} });
      if (ending === 'completed') return performance.now() - began;
      const late = performance.now() - began > END_MS;
      if (ending !== null || late)
        throw new ShadowferryError('MIGRATION_FAILED', {
          why: error?.message ?? ending ?? 'it does not end',
        });
      await delay(LOOK_MS);
    }
  }

  async measure(loaded: boolean): Promise<Measurement> {
    const probes = startProbes({
      ...{ enter: this.#lab.outside([]), target: GUEST_ADDRESS },
      ...{ icmp: true, bulkRate: BULK_RATE },
    });
    try {
      await probes.ready;
      const reaching = loaded ? load(this.#lab.places.a.socket) : undefined;
      await delay(QUIET_MS);
      const tookMs = await this.#migrate('a', 'b');
      await delay(QUIET_MS);
      const seen = await probes.stop();
      const reached = await reaching;
      await this.#migrate('b', 'a');
      const { opened, survived } = seen.connections;
      return {
        metrics: {
          tcpMs: Math.max(seen.outageMs.tcp, longestAway(seen.gaps.tcp, APART_MS)),
          icmpMs: seen.outageMs.icmp,
          migrationMs: tookMs,
          answeredPerSecond: reached?.perSecond ?? null,
          refused: reached?.statuses['429'] ?? null,
          p99Ms: reached?.p99Ms ?? null,
        },
        flags: [
          ...(survived === opened ? [] : ['a connection was lost']),
          ...(loaded && tookMs + QUIET_MS > SECONDS * 1000 ? ['it took longer than the load'] : []),
        ],
        raw: { reached, seen: { ...seen.outageMs, late: seen.lateMs } },
      };
    } finally {
      probes.kill();
    }
  }

  dispose(): Promise<void> {
    return this.#lab.dispose();
  }
}
