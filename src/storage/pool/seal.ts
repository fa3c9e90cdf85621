/**
 * The envelope of everything that a pool keeps about itself: 8 bytes of magic, the format's version and the length of
 * the content (u32, little endian), SHA-256 over all but itself, then JSON. It stays the same in later formats, so
 * that "newer" can be told from "damaged".
 */
import { createHash } from 'node:crypto';

/** Format that this program writes, and the newest that it reads. */
export const VERSION = 1;

export const SUPERBLOCK = Buffer.from('SFpoolSB');
export const CATALOG = Buffer.from('SFpoolCT');

/** Bytes before the content. */
export const HEAD = 48;

/** What was found: the content, or why there is none. `absent`: it does not even begin as one. */
export type Opened =
  | { state: 'whole'; content: unknown }
  | { state: 'newer'; version: number }
  | { state: 'absent' }
  | { state: 'damaged' };

function digest(front: Uint8Array, content: Uint8Array): Buffer {
  return createHash('sha256').update(front).update(content).digest();
}

/** Puts a value of JSON into an envelope. */
export function seal(magic: Buffer, content: unknown, version = VERSION): Buffer {
  const text = Buffer.from(JSON.stringify(content));
  const front = Buffer.alloc(16);
  magic.copy(front);
  front.writeUInt32LE(version, 8);
  front.writeUInt32LE(text.length, 12);
  return Buffer.concat([front, digest(front, text), text]);
}

/** How long the content is that an envelope's first `HEAD` bytes announce; undefined when they are of none. */
export function contentLength(magic: Buffer, head: Buffer): number | undefined {
  return head.subarray(0, 8).equals(magic) ? head.readUInt32LE(12) : undefined;
}

/** Opens an envelope; what follows it in `bytes` does not matter. */
export function unseal(magic: Buffer, bytes: Buffer): Opened {
  if (bytes.length < HEAD || !bytes.subarray(0, 8).equals(magic)) return { state: 'absent' };
  const length = bytes.readUInt32LE(12);
  const content = bytes.subarray(HEAD, HEAD + length);
  if (content.length < length) return { state: 'damaged' };
  if (!digest(bytes.subarray(0, 16), content).equals(bytes.subarray(16, HEAD))) return { state: 'damaged' };
  const version = bytes.readUInt32LE(8);
  if (version > VERSION) return { state: 'newer', version };
  try {
    return { state: 'whole', content: JSON.parse(content.toString('utf8')) };
  } catch {
    return { state: 'damaged' };
  }
}
