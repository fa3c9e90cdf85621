/**
 * Brings a QEMU out of `postcopy-paused`, where it waits for ever for a destination that is dead. QEMU (until 10.1, at
 * least) cannot be told to give such a copy up: a cancel leaves it in `cancelling` for good, though it still has all of
 * the VM. So we take the destination's place: QEMU reconnects to us, hears that no page has come, and is in
 * `postcopy-active` again, in which a cancel works.
 *
 * Only for a VM that never ran on the destination; that is for the caller to know.
 */

import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { Qmp } from './client.ts';
import { migrate } from './commands.ts';
import { ramBlocks } from './ram-blocks.ts';

/** Of the stream from the source: a command, its number and its length follow. */
const COMMAND = 0x08;
const RESUME = 9;
const SEND_BITMAP = 10;
/** Of the way back. */
const BITMAP = 5;
const RESUME_ACK = 6;
const BITMAP_END = 0x0123456789abcdefn;
const PAGE = 4096;

export interface StreamCommand {
  command: number;
  data: Buffer;
}

/** Takes the first whole command from what has come. @returns undefined while it is not whole; @throws RangeError */
export function takeCommand(bytes: Buffer): { found: StreamCommand; rest: Buffer } | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes[0] !== COMMAND)
    throw new RangeError(`the stream goes on with byte ${bytes[0]}, which is no command`);
  if (bytes.length < 5) return undefined;
  const end = 5 + bytes.readUInt16BE(3);
  if (bytes.length < end) return undefined;
  return {
    found: { command: bytes.readUInt16BE(1), data: bytes.subarray(5, end) },
    rest: bytes.subarray(end),
  };
}

/**
 * What a destination that has no page answers to a command; empty where it needs no answer.
 * @param blocks sizes of the memory's blocks, by name
 * @throws RangeError for a block that is not known
 */
export function answerTo({ command, data }: StreamCommand, blocks: ReadonlyMap<string, number>): Buffer {
  const head = (type: number, length: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt16BE(type, 0);
    bytes.writeUInt16BE(length, 2);
    return bytes;
  };
  if (command === RESUME) {
    const one = Buffer.alloc(4);
    one.writeUInt32BE(1);
    return Buffer.concat([head(RESUME_ACK, one.length), one]);
  }
  if (command !== SEND_BITMAP) return Buffer.alloc(0);
  const name = data.subarray(1).toString('latin1');
  const size = blocks.get(name);
  if (size === undefined) throw new RangeError(`block "${name}" of the memory is not known`);
  const bytes = Math.ceil(Math.ceil(size / PAGE) / 64) * 8;
  const bitmap = Buffer.alloc(8 + bytes + 8); // no bit set: no page has come
  bitmap.writeBigUInt64BE(BigInt(bytes), 0);
  bitmap.writeBigUInt64BE(BITMAP_END, 8 + bytes);
  return Buffer.concat([head(BITMAP, data.length), data, bitmap]);
}

/** Answers until the source was told to go on; then it is listened to no more, so that it waits in its next write. */
async function shakeHands(
  socket: Socket,
  blocks: ReadonlyMap<string, number>,
  signal: AbortSignal,
): Promise<void> {
  let waiting = Buffer.alloc(0);
  const done = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => done.reject(signal.reason), { once: true });
  socket.on('error', done.reject);
  socket.on('close', () => done.reject(new Error('QEMU closed the stream')));
  socket.on('data', (chunk: Buffer) => {
    try {
      waiting = Buffer.concat([waiting, chunk]);
      for (let next = takeCommand(waiting); next !== undefined; next = takeCommand(waiting)) {
        waiting = Buffer.from(next.rest);
        socket.write(answerTo(next.found, blocks));
        if (next.found.command !== RESUME) continue;
        socket.pause();
        return done.resolve();
      }
    } catch (error) {
      done.reject(error);
    }
  });
  await done.promise;
}

/**
 * From `postcopy-paused` to `postcopy-active`, and then `cancel`. The copy is over a moment after this returns.
 * @param path of a unix socket that is made here, and removed
 * @param cancel called when QEMU was told to go on; the stream, which QEMU may be writing to, is broken after it
 * @throws MIGRATION_FAILED when QEMU does not take us for its destination; what `cancel` throws
 */
export async function standInForDestination(
  qmp: Qmp,
  path: string,
  signal: AbortSignal,
  cancel: () => Promise<void>,
): Promise<void> {
  const blocks = await ramBlocks(qmp, signal);
  rmSync(path, { force: true });
  const server = createServer();
  // urgent pages have a connection of their own, which comes after the first
  const sockets: Socket[] = [];
  server.on('connection', (socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
  });
  try {
    await begin(qmp, { server, path, blocks, signal });
    await cancel();
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(path, { force: true });
  }
}

async function begin(
  qmp: Qmp,
  on: { server: Server; path: string; blocks: ReadonlyMap<string, number>; signal: AbortSignal },
): Promise<void> {
  const { server, path, blocks, signal } = on;
  try {
    server.listen(path);
    await once(server, 'listening', { signal });
    const connected = once(server, 'connection', { signal });
    connected.catch(() => {});
    await migrate(qmp, `unix:${path}`, { resume: true, signal });
    const [socket]: Socket[] = await connected;
    if (socket === undefined) throw new Error('QEMU did not connect');
    await shakeHands(socket, blocks, signal);
  } catch (error) {
    if (error instanceof ShadowferryError) throw error;
    const why = `QEMU does not leave "postcopy-paused": ${reasonOf(error)}`;
    throw new ShadowferryError('MIGRATION_FAILED', { why }, { cause: error });
  }
}
