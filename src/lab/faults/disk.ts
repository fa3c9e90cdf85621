/** A disk that is full: the file system of a host's state is filled to its last page, and emptied again. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../base/safe-file.ts';

const NAME = '.filled-by-the-lab';
/** Pieces of falling size: what is left is less than the last one. */
const PIECES = [1 << 20, 1 << 16, 4096, 1];

/** Fills the file system that `directory` is on; it must be a small one of its own. */
export function fillDisk(directory: string): void {
  const file = openSync(join(directory, NAME), 'a', 0o600);
  try {
    for (const size of PIECES) {
      const piece = Buffer.alloc(size, 1);
      try {
        for (;;) if (writeSync(file, piece) < size) break;
      } catch (error) {
        if (errnoOf(error) !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(file);
  }
}

/** Gives the room back. Safe to repeat. */
export function emptyDisk(directory: string): void {
  rmSync(join(directory, NAME), { force: true });
}
