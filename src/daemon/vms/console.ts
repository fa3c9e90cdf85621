/** The serial console of a VM, as its file on this host holds it: in pieces, and what comes as it comes. */
import { type FileHandle, open } from 'node:fs/promises';
import { vmPaths } from '../../hypervisor/qemu/spec.ts';
import { keptConsole } from './life.ts';
import type { VmRegistry } from './registry.ts';

export interface ConsolePart {
  text: string;
  /** Where in the file the text begins, and where it ends, bytes. */
  from: number;
  next: number;
  size: number;
  live: boolean;
}

export interface ConsoleQuery {
  /** Where to begin; without it, `bytes` before the end. */
  from?: number | undefined;
  bytes: number;
}

/** Bytes of a character that is not whole yet, at the end of UTF-8 that goes on. */
function unfinished(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

async function openEither(files: readonly string[]): Promise<FileHandle | undefined> {
  for (const file of files) {
    const handle = await open(file, 'r').catch(() => undefined);
    if (handle !== undefined) return handle;
  }
  return undefined;
}

/**
 * A piece of what the guest wrote; the last one of a VM that has ended is kept until it is started again. A file that
 * is shorter than `from` was begun anew, and is read from its beginning.
 * @throws UNKNOWN_VM
 */
export async function readConsole(
  registry: VmRegistry,
  name: string,
  query: ConsoleQuery,
): Promise<ConsolePart> {
  const { state } = registry.get(name);
  const live = state === 'running' || state === 'paused' || state === 'incoming';
  const { serial } = vmPaths(registry.host.vmDirectory(name));
  const file = await openEither([serial, keptConsole(registry, name)]);
  if (file === undefined) return { text: '', from: 0, next: 0, size: 0, live };
  try {
    const { size } = await file.stat();
    const wanted = query.from ?? Math.max(0, size - query.bytes);
    const from = wanted > size ? 0 : wanted;
    const buffer = Buffer.alloc(Math.min(query.bytes, size - from));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
    const read = buffer.subarray(0, bytesRead);
    const end = from + bytesRead;
    // a character that is cut comes with the next piece, unless the guest never ends it
    const rest = end < size || live ? unfinished(read) : 0;
    const keep = rest < bytesRead ? rest : 0;
    return { text: read.toString('utf8', 0, bytesRead - keep), from, next: end - keep, size, live };
  } finally {
    await file.close();
  }
}

/** How often a console that is followed is looked at, ms: a look costs microseconds. */
const FOLLOW_MS = 200;

/** As `readConsole`, but waits up to `waitMs` for something to come where there is nothing. */
export async function followConsole(
  registry: VmRegistry,
  name: string,
  query: ConsoleQuery,
  waitMs: number,
): Promise<ConsolePart> {
  const until = performance.now() + waitMs;
  for (;;) {
    const part = await readConsole(registry, name, query);
    if (part.text !== '' || !part.live || performance.now() >= until || registry.closed) return part;
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
  }
}
