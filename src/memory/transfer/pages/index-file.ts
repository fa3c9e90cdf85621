/** An index of pages in a file, with a hash over all of it: flipped bits are found before it is used. */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { ShadowferryError } from '../../../errors.ts';
import type { RamBlock } from '../stream/parser.ts';
import { PageIndex } from './page-index.ts';

/** @returns the hash of the file, in hex */
export function writeIndex(path: string, index: PageIndex): string {
  const hash = createHash('sha256');
  const file = openSync(path, 'w', 0o600);
  try {
    for (const part of index.parts()) {
      hash.update(part);
      for (let at = 0; at < part.length; ) at += writeSync(file, part, at, part.length - at);
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}

/** @throws PAGES_DAMAGED when the file is not the one that was written */
export function readIndex(path: string, blocks: readonly RamBlock[], wanted: string): PageIndex {
  const hash = createHash('sha256');
  const file = openSync(path, 'r');
  const damaged = (why: string) => new ShadowferryError('PAGES_DAMAGED', { what: path, why });
  try {
    const index = PageIndex.from(blocks, (into) => {
      for (let at = 0; at < into.length; ) {
        const read = readSync(file, into, at, into.length - at, null);
        if (read === 0) throw damaged('its end is missing');
        at += read;
      }
      hash.update(into);
    });
    if (hash.digest('hex') !== wanted) throw damaged('it is not what was written');
    return index;
  } catch (error) {
    if (error instanceof RangeError) throw damaged(error.message);
    throw error;
  } finally {
    closeSync(file);
  }
}
