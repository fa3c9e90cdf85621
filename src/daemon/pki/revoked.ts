/** Serial numbers of certificates that are not taken any more. */
import { statSync } from 'node:fs';
import { z } from 'zod';
import { errnoOf, readTrusted } from '../../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';

export const RevokedEntry = z.strictObject({
  serial: z.string().regex(/^[0-9a-f]+$/),
  name: z.string(),
  /** Ms since the epoch. */
  atMs: z.number(),
  reason: z.string(),
});
export type RevokedEntry = z.infer<typeof RevokedEntry>;

const File = z.strictObject({ schema: z.literal(1), revoked: z.array(RevokedEntry) });

/** The text of the file. */
export function revokedText(revoked: readonly RevokedEntry[]): string {
  return `${JSON.stringify({ schema: 1, revoked }, null, 2)}\n`;
}

/** @throws PKI_INVALID, FILE_UNSAFE; a file that is not there is an empty list. */
export function readRevoked(file: string): RevokedEntry[] {
  try {
    return File.parse(JSON.parse(readTrusted(file))).revoked;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    if (error instanceof ShadowferryError) throw error;
    const what = 'list of revoked certificates';
    throw new ShadowferryError('PKI_INVALID', { file, what, why: reasonOf(error) }, { cause: error });
  }
}

/**
 * The list as a daemon uses it: read again when the file has changed. A file that was readable and is not any more
 * revokes everything, as one cannot know whom it named.
 */
export class RevokedList {
  readonly #file: string;
  #stamp = '';
  #serials = new Set<string>();
  #failure: ShadowferryError | undefined;

  /** @throws PKI_INVALID, FILE_UNSAFE */
  constructor(file: string) {
    this.#file = file;
    this.#refresh();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Why a certificate is not taken; undefined when it is. */
  check(serial: string): string | undefined {
    this.#refresh();
    if (this.#failure !== undefined)
      return `the list of revoked certificates cannot be read: ${this.#failure.message}`;
    return this.#serials.has(serial) ? 'its certificate is revoked' : undefined;
  }

  #refresh(): void {
    const stats = statSync(this.#file, { throwIfNoEntry: false, bigint: true });
    const stamp = stats === undefined ? 'none' : `${stats.ino} ${stats.size} ${stats.mtimeNs}`;
    if (stamp === this.#stamp) return;
    const before = this.#stamp;
    this.#stamp = stamp;
    try {
      // a list that is gone is no empty list
      if (stats === undefined && before !== '' && this.#serials.size > 0)
        throw new Error(`${this.#file} is gone`);
      this.#serials = new Set(readRevoked(this.#file).map(({ serial }) => serial));
      this.#failure = undefined;
    } catch (error) {
      this.#failure =
        error instanceof ShadowferryError
          ? error
          : new ShadowferryError('PKI_INVALID', { file: this.#file, what: 'list', why: reasonOf(error) });
    }
  }
}
