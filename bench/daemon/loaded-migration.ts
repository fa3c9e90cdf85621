/** The outage of a migration between two daemons, while the source's daemon is asked a thousand times a second, or not. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { API } from '../../src/daemon/api/contract.ts';
import { createToken } from '../../src/daemon/auth/tokens.ts';
import { ShadowferryError } from '../../src/errors.ts';
import { LabDaemons, type LabHostName } from '../../src/lab/daemons.ts';
import { ApiDriver } from '../../src/lab/faults/api-driver.ts';
import { GUEST_ADDRESS } from '../../src/lab/guest-setup.ts';
import { ensureGuestImage } from '../../src/lab/image/image.ts';
import { startProbes } from '../../src/lab/probe/probes.ts';
import { longestAway } from '../gaps.ts';
import type { Measurement } from '../harness.ts';
import { load, loadNothing, type Reached, SECONDS } from './load.ts';

/** More than all of it: then what is measured is what answering costs, not what refusing does. */
const NO_LIMIT = 100_000;
const VM = 'web1';
const QUIET_MS = 2_000;
const APART_MS = 50;
const LOOK_MS = 300;
const END_MS = 120_000;
const BULK_RATE = 200_000;

/**
 * Who asks a thousand times a second: nobody; somebody, a server that does nothing (the machine is busy with the asking
 * all the same); the source's daemon, which answers all of it; or the same daemon with the limit that it has when
 * nobody says another.
 */
export type Asking = 'nobody' | 'nothing' | 'daemon' | 'limited-daemon';

/** Two hosts with a daemon each, and one VM that goes there and back. */
export class LoadedMigrations {
  readonly #lab: LabDaemons;
  readonly #driver: ApiDriver;
  /** Of a principal of its own: the migration is asked for by another. */
  readonly #token: string;
  #limited = false;

  private constructor(lab: LabDaemons, driver: ApiDriver) {
    this.#lab = lab;
    this.#driver = driver;
    const tokens = join(lab.places.a.state, 'tokens.json');
    this.#token = createToken(tokens, { name: 'load', role: 'viewer', days: 1 }).token;
  }

  static async create(): Promise<LoadedMigrations> {
    const image = await ensureGuestImage({ cacheDir: cacheDirectory(), log: () => {} });
    const lab = await LabDaemons.create({
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      members: 1,
      config: () => ({ limits: { requestsPerSecond: NO_LIMIT } }),
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

  /** Starts the source's daemon anew with the limit of its requests, or without. */
  async #limit(limited: boolean): Promise<void> {
    if (limited === this.#limited) return;
    const { config } = this.#lab.places.a;
    const { limits: _, ...rest } = z
      .record(z.string(), z.unknown())
      .parse(JSON.parse(readFileSync(config, 'utf8')));
    const limits = limited ? {} : { limits: { requestsPerSecond: NO_LIMIT } };
    writeFileSync(config, JSON.stringify({ ...rest, ...limits }));
    const daemon = this.#lab.daemons.a;
    await daemon.stop();
    await daemon.start();
    this.#limited = limited;
  }

  #load(asking: Asking): Promise<Reached> | undefined {
    switch (asking) {
      case 'nobody':
        return undefined;
      case 'nothing':
        return loadNothing(join(this.#lab.directory, 'n.sock'));
      case 'daemon':
      case 'limited-daemon':
        return load(this.#lab.places.a.socket, this.#token);
      default:
        return asking satisfies never;
    }
  }

  async measure(asking: Asking): Promise<Measurement> {
    await this.#limit(asking === 'limited-daemon');
    const probes = startProbes({
      ...{ enter: this.#lab.outside([]), target: GUEST_ADDRESS },
      ...{ icmp: true, bulkRate: BULK_RATE },
    });
    try {
      await probes.ready;
      const reaching = this.#load(asking);
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
          putOff: reached?.statuses['503'] ?? null,
          p99Ms: reached?.p99Ms ?? null,
          askingMs: reached?.processorMs ?? null,
        },
        flags: [
          ...(survived === opened ? [] : ['a connection was lost']),
          ...(reached !== undefined && tookMs + QUIET_MS > SECONDS * 1000
            ? ['it took longer than the load']
            : []),
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
