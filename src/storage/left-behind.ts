/** What stays on a host when a disk has moved away: an image that is out of date from then on. */
import { existsSync, rmSync, statSync } from 'node:fs';
import { z } from 'zod';
import { readTrusted, writeWhole } from '../base/safe-file.ts';

const Mark = z.object({
  vm: z.string(),
  disk: z.string(),
  migration: z.string(),
  /** Where the VM went. */
  to: z.string(),
  /** When it was left, ISO 8601. */
  at: z.string(),
  /** When its file was written last, ns since the epoch: later, and somebody else has written to it. */
  writtenNs: z.string().default(''),
});
export type LeftMark = z.infer<typeof Mark>;

const writtenNs = (path: string): string => String(statSync(path, { bigint: true }).mtimeNs);

/** Whether an image is as its disk left it. */
export const isIntact = (path: string, mark: LeftMark): boolean => mark.writtenNs === writtenNs(path);

/** The file beside an image that says that it was left behind. */
export const leftFile = (path: string) => `${path}.left-behind`;

/** The mark of an image; undefined where it has none that can be trusted. */
export function leftMark(path: string): LeftMark | undefined {
  try {
    return Mark.parse(JSON.parse(readTrusted(leftFile(path))));
  } catch {
    return undefined; // what is not there, or could be somebody else's, allows nothing
  }
}

/** Says of an image, as it is now, that it was left behind. */
export function writeMark(path: string, mark: Omit<LeftMark, 'writtenNs'>): void {
  const whole: LeftMark = { ...mark, writtenNs: writtenNs(path) };
  writeWhole(leftFile(path), `${JSON.stringify(whole)}\n`, 0o600, 'replace');
}

/** What becomes of the source's image when its disk has moved. */
export const OldDisk = z.enum(['keep', 'remove']);
export type OldDisk = z.infer<typeof OldDisk>;

/**
 * Leaves an image behind: marked, so that its disk may come back to it, or removed. Repeating it does no harm; a block
 * device stays as it is.
 */
export function leaveBehind(
  disk: { path: string; at: 'file' | 'device' },
  policy: OldDisk,
  mark: Omit<LeftMark, 'writtenNs'>,
): void {
  if (disk.at === 'device' || !existsSync(disk.path)) return;
  if (policy === 'keep') {
    writeMark(disk.path, mark);
    return;
  }
  rmSync(disk.path, { force: true });
  rmSync(leftFile(disk.path), { force: true });
}
