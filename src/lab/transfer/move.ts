/** Moves a bare QEMU's VM to another one by two relays of this process, over a link that can be cut. */
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ShadowferryError } from '../../errors.ts';
import {
  migrate,
  migrateContinue,
  migrateIncoming,
  migrateSetCapabilities,
  migrateSetParameters,
  migrateStartPostcopy,
  queryMigrate,
  queryStatus,
} from '../../hypervisor/qmp/commands.ts';
import type { PageStores } from '../../memory/transfer/pages/stores.ts';
import { DestinationRelay } from '../../memory/transfer/relay/destination-relay.ts';
import { HashPool } from '../../memory/transfer/relay/hash-pool.ts';
import type { DestinationReport, SourceReport } from '../../memory/transfer/relay/report.ts';
import { SourceRelay } from '../../memory/transfer/relay/source-relay.ts';
import { newSessionKey } from '../../memory/transfer/wire/hello.ts';
import { Link } from '../../memory/transfer/wire/link.ts';
import type { BareQemu } from './bare-qemu.ts';

const LOOK_MS = 5;

export interface MoveOptions {
  source: BareQemu;
  destination: BareQemu;
  vm: string;
  epoch: number;
  mode: 'precopy' | 'postcopy';
  stores?: { source: PageStores; destination: PageStores };
  connections?: number;
  zstd?: boolean;
  rate?: number;
  deadlineMs?: number;
  /** Given the line between the hosts when the copy has begun. */
  meanwhile?: (line: Line) => void;
  signal: AbortSignal;
}

/** The connections between the two hosts. */
export class Line {
  readonly #live = new Set<Socket>();
  #closed = false;

  get open(): boolean {
    return !this.#closed;
  }

  keep(socket: Socket): void {
    this.#live.add(socket);
    socket.setNoDelay(true);
    socket.once('close', () => this.#live.delete(socket));
  }

  /** Breaks what there is; `closed`: nothing comes about again, until `mend`. */
  cut(closed: boolean): void {
    this.#closed = closed;
    for (const each of this.#live) each.destroy();
  }

  mend(): void {
    this.#closed = false;
  }
}

export interface Moved {
  source: SourceReport;
  destination: DestinationReport;
  /** From the start of the copy to its end, ms. */
  ms: number;
}

/** @throws what ended the transfer, MIGRATION_FAILED with QEMU's own words; the destination waits paused afterwards */
export async function moveBare(options: MoveOptions): Promise<Moved> {
  const { source, destination, mode, signal } = options;
  const capabilities = {
    events: true,
    'return-path': true,
    'pause-before-switchover': true,
    'postcopy-ram': mode === 'postcopy',
  };
  for (const { monitor } of [source, destination])
    await migrateSetCapabilities(monitor, capabilities, { signal });
  await migrateSetParameters(source.monitor, { 'max-bandwidth': 2 ** 40 }, { signal });
  const sockets = { in: join(destination.directory, 'in.sock'), out: join(source.directory, 'out.sock') };
  await migrateIncoming(destination.monitor, `unix:${sockets.in}`, { signal });

  const line = new Line();
  const key = newSessionKey();
  const link = { key, deadlineMs: options.deadlineMs ?? 10_000, quietMs: 2_000, rate: options.rate };
  const about = { vm: options.vm, epoch: options.epoch };
  let taker: Link | undefined;
  const to = new DestinationRelay(
    { ...about, stores: options.stores?.destination, qemu: sockets.in },
    (onFrame) => (taker = new Link({ ...link, rate: undefined, onFrame })),
  );
  const server = createServer((socket) => {
    line.keep(socket);
    taker?.accept(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const hashes = new HashPool();
  const from = new SourceRelay(
    { ...about, stores: options.stores?.source, hashes, zstd: options.zstd ?? false },
    (onFrame) =>
      Link.dial({
        ...{ ...link, connections: options.connections ?? 1, onFrame },
        dial: (within) => connect(port, line, within),
      }),
  );
  const [sent, came] = [from.done(), to.done()];
  sent.catch(() => {});
  came.catch(() => {});
  try {
    await from.listen(sockets.out);
    const start = performance.now();
    await migrate(source.monitor, `unix:${sockets.out}`, { signal });
    if (mode === 'postcopy') await migrateStartPostcopy(source.monitor);
    options.meanwhile?.(line);
    await untilSent(source, signal);
    const ms = performance.now() - start;
    await untilLoaded(destination, signal);
    return { source: await sent, destination: await came, ms };
  } catch (error) {
    // what the relays say is the cause, and QEMU's words what followed from it
    line.cut(true);
    await Promise.race([sent, came, delay(1_000)]);
    throw error;
  } finally {
    from.close();
    to.close();
    server.close();
    await hashes.close();
  }
}

async function connect(port: number, line: Line, signal: AbortSignal): Promise<Socket> {
  if (!line.open) throw new Error('the line is cut');
  const socket = createConnection({ port, host: '127.0.0.1', signal });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  line.keep(socket);
  return socket;
}

async function untilSent({ monitor }: BareQemu, signal: AbortSignal): Promise<void> {
  let continued = false;
  for (;;) {
    const { status, 'error-desc': why = `QEMU says "${status}"` } = await queryMigrate(monitor, { signal });
    if (status === 'completed') return;
    if (status === 'pre-switchover' && !continued) {
      continued = true;
      await migrateContinue(monitor, 'pre-switchover', { signal });
    }
    if (['failed', 'cancelled', 'postcopy-paused'].includes(status))
      throw new ShadowferryError('MIGRATION_FAILED', { why });
    await delay(LOOK_MS, undefined, { signal });
  }
}

async function untilLoaded({ monitor }: BareQemu, signal: AbortSignal): Promise<void> {
  for (;;) {
    const { status } = await queryMigrate(monitor, { signal });
    const { status: state } = await queryStatus(monitor, { signal });
    if (status === 'completed' && state !== 'inmigrate') return;
    if (status === 'failed')
      throw new ShadowferryError('MIGRATION_FAILED', { why: 'the destination failed' });
    await delay(LOOK_MS, undefined, { signal });
  }
}
