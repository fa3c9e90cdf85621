/** Both relays of a transfer with sockets in the place of the two QEMUs, and streams as QEMU writes them. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Duplex, duplexPair } from 'node:stream';
import type { PageStores } from '../pages/stores.ts';
import { PAGE_BYTES } from '../stream/format.ts';
import { StreamWriter } from '../stream/writer.test-data.ts';
import { newSessionKey } from '../wire/hello.ts';
import { Link } from '../wire/link.ts';
import { DestinationRelay } from './destination-relay.ts';
import { HashPool } from './hash-pool.ts';
import type { DestinationReport, SourceReport } from './report.ts';
import { SourceRelay } from './source-relay.ts';

export const PAGES = 500;

/** A page whose content follows from a number; 0 is a page of zeroes. */
export function pageOf(seed: number): Buffer {
  const content = Buffer.alloc(PAGE_BYTES, seed === 0 ? 0 : (seed % 250) + 1);
  content.writeUInt32LE(seed, 4000);
  return content;
}

/** The stream of a VM with so many pages, all of which go once, then those of `later` again. */
export function streamOf(
  memory: readonly number[],
  later: readonly [page: number, seed: number][] = [],
): Buffer {
  const whole = memory.map((seed, n): [number, number] => [n, seed]);
  const stream = new StreamWriter()
    .header()
    .configuration('pc')
    .setup([['pc.ram', PAGES * PAGE_BYTES]]);
  for (const [n, round] of [whole, later].entries())
    stream[n === 0 ? 'part' : 'end']((ram) => {
      for (const [place, [page, seed]] of round.entries()) {
        const name = place === 0 ? 'pc.ram' : '';
        if (seed === 0) ram.zero(name, page);
        else ram.page(name, page, pageOf(seed));
      }
      return ram;
    });
  return Buffer.from(stream.raw(Buffer.alloc(20_000, 0x04)).whole());
}

export interface PassOptions {
  stream: Buffer;
  vm?: string;
  epoch?: number;
  source?: PageStores | undefined;
  destination?: PageStores | undefined;
  connections?: number;
  zstd?: boolean;
  threads?: number;
  deadlineMs?: number;
  /** Called with what cuts the line, when so many bytes came out at the other end. */
  at?: { bytes: number; act: (line: TestLine) => void };
  /** The destination's QEMU closes its end after so many bytes. */
  breakAfter?: number;
}

export interface TestLine {
  cut(): void;
  /** No new connection comes about from here on. */
  close(): void;
  open(): void;
}

export interface Passed {
  output: Buffer;
  /** What came back to the source's QEMU. */
  replies: string;
  source: PromiseSettledResult<SourceReport>;
  destination: PromiseSettledResult<DestinationReport>;
}

/** Sends a stream through both relays, and waits until both are done. */
export async function pass(options: PassOptions): Promise<Passed> {
  const directory = mkdtempSync(join(tmpdir(), 'shadowferry-relay-'));
  const qemu = join(directory, 'in.sock');
  const arrived: Buffer[] = [];
  const live = new Set<Duplex>();
  let closed = false;
  const line: TestLine = {
    cut: () => {
      for (const each of live) each.destroy();
    },
    close: () => (closed = true),
    open: () => (closed = false),
  };
  const incoming = await listening(qemu, (socket) => takeAll(socket, options, arrived, line));
  const about = { vm: options.vm ?? 'web1', epoch: options.epoch ?? 1 };
  const link = { key: newSessionKey(), deadlineMs: options.deadlineMs ?? 5_000, quietMs: 1_000 };
  let taker: Link | undefined;
  const to = new DestinationRelay(
    { ...about, stores: options.destination, qemu },
    (onFrame) => (taker = new Link({ ...link, onFrame })),
  );
  const hashes = new HashPool(options.threads ?? 0);
  const from = new SourceRelay(
    { ...about, stores: options.source, hashes, zstd: options.zstd ?? false },
    (onFrame) =>
      Link.dial({
        ...{ ...link, onFrame, connections: options.connections ?? 1 },
        dial: async () => {
          if (closed) throw new Error('the line is cut');
          const [here, there] = duplexPair();
          for (const each of [here, there]) {
            live.add(each);
            each.on('error', () => {}).on('close', () => live.delete(each));
          }
          taker?.accept(there);
          return here;
        },
      }),
  );
  try {
    await from.listen(join(directory, 'out.sock'));
    const replies = sendAll(join(directory, 'out.sock'), options.stream);
    const [source, destination] = await Promise.allSettled([from.done(), to.done()]);
    return { output: Buffer.concat(arrived), replies: await replies, source, destination };
  } finally {
    from.close();
    to.close();
    incoming.close();
    await hashes.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function listening(path: string, each: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, each);
  server.listen(path);
  await once(server, 'listening');
  return server;
}

/** The destination's QEMU: takes everything, says something on the way and at the end. */
function takeAll(
  socket: Socket,
  { stream, at, breakAfter }: PassOptions,
  into: Buffer[],
  line: TestLine,
): void {
  let count = 0;
  let acted = false;
  socket.on('error', () => {});
  socket.write('ready;');
  socket.on('data', (bytes: Buffer) => {
    into.push(bytes);
    count += bytes.length;
    if (at !== undefined && !acted && count >= at.bytes) {
      acted = true;
      at.act(line);
    }
    if (breakAfter !== undefined && count >= breakAfter) socket.destroy();
    if (count === stream.length) socket.end('done');
  });
}

/** The source's QEMU: sends, and closes when it was answered to the end. */
async function sendAll(path: string, stream: Buffer): Promise<string> {
  const socket = createConnection({ path, allowHalfOpen: true });
  let replies = '';
  socket.on('data', (bytes: Buffer) => {
    replies += bytes.toString();
    if (replies.endsWith('done')) socket.end();
  });
  socket.on('end', () => socket.destroy());
  socket.on('error', () => {});
  socket.write(stream);
  await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return replies;
}
