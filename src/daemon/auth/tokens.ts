/**
 * Tokens: 256 random bits that stand for a name and a role. The file has only their hashes; SHA-256 is enough, as
 * nobody guesses 256 bits, and a slow hash would be a way to keep the daemon busy.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { statSync } from 'node:fs';
import { z } from 'zod';
import { errnoOf, readTrusted, writeWhole } from '../../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { Role } from './roles.ts';

const Entry = z.strictObject({
  /** Says which token is meant; not secret. */
  id: z.string().regex(/^[0-9a-f]{12}$/),
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$/, 'letters, digits and ._@-, at most 63'),
  role: Role,
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  /** Ms since the epoch. */
  createdMs: z.number(),
  expiresMs: z.number().nullable(),
  revokedMs: z.number().nullable(),
});
export type TokenEntry = z.infer<typeof Entry>;

const File = z.strictObject({ schema: z.literal(1), tokens: z.array(Entry).max(100_000) });

/** How a token looks: told apart from other secrets by tools that look for those that leaked. */
const TOKEN = /^sfy_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** @throws TOKENS_INVALID, FILE_UNSAFE; a file that is not there has no tokens. */
export function readTokens(file: string): TokenEntry[] {
  try {
    return File.parse(JSON.parse(readTrusted(file, true))).tokens;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    if (error instanceof ShadowferryError) throw error;
    throw new ShadowferryError('TOKENS_INVALID', { file, why: reasonOf(error) }, { cause: error });
  }
}

function write(file: string, tokens: readonly TokenEntry[]): void {
  writeWhole(file, `${JSON.stringify({ schema: 1, tokens }, null, 2)}\n`, 0o600, 'replace');
}

/**
 * Makes a token. The text that is given back is nowhere else.
 * @param days how long it holds; null: until it is revoked
 * @throws TOKENS_INVALID, FILE_UNSAFE, INPUT_FIELD
 */
export function createToken(
  file: string,
  wanted: { name: string; role: Role; days: number | null },
  nowMs = Date.now(),
): { token: string; entry: TokenEntry } {
  const id = randomBytes(6).toString('hex');
  const secret = randomBytes(32).toString('base64url');
  const expiresMs = wanted.days === null ? null : nowMs + wanted.days * 86_400_000;
  const hash = hashOf(secret).toString('hex');
  const entry = Entry.safeParse({
    id,
    name: wanted.name,
    role: wanted.role,
    hash,
    createdMs: nowMs,
    expiresMs,
    revokedMs: null,
  });
  if (!entry.success) {
    const problem = entry.error.issues.map(({ message }) => message).join('; ');
    throw new ShadowferryError('INPUT_FIELD', { field: 'name', problem });
  }
  write(file, [...readTokens(file), entry.data]);
  return { token: `sfy_${id}_${secret}`, entry: entry.data };
}

/** Revokes a token by its id. Twice changes nothing. @throws TOKEN_UNKNOWN, TOKENS_INVALID, FILE_UNSAFE */
export function revokeToken(file: string, id: string, nowMs = Date.now()): TokenEntry {
  const tokens = readTokens(file);
  const found = tokens.find((entry) => entry.id === id);
  if (found === undefined) throw new ShadowferryError('TOKEN_UNKNOWN', { token: id, file });
  const revoked = { ...found, revokedMs: found.revokedMs ?? nowMs };
  if (found.revokedMs === null)
    write(
      file,
      tokens.map((entry) => (entry.id === id ? revoked : entry)),
    );
  return revoked;
}

/** The tokens as a daemon uses them: read again when the file has changed. */
export class TokenList {
  readonly #file: string;
  #stamp = '';
  #tokens = new Map<string, TokenEntry>();

  /** @throws TOKENS_INVALID, FILE_UNSAFE */
  constructor(file: string) {
    this.#file = file;
    this.#refresh();
  }

  /** Whom a token stands for, or why for nobody. Takes the same time for every wrong secret. */
  find(text: string, nowMs = Date.now()): { entry: TokenEntry } | { why: string } {
    try {
      this.#refresh();
    } catch (error) {
      return { why: `the list of tokens cannot be read: ${reasonOf(error)}` };
    }
    const [, id = '', secret = ''] = TOKEN.exec(text) ?? [];
    const entry = this.#tokens.get(id);
    const expected = Buffer.from(entry?.hash ?? '0'.repeat(64), 'hex');
    if (!timingSafeEqual(hashOf(secret), expected) || entry === undefined)
      return { why: 'the token is not known' };
    const over = this.#over(entry, nowMs);
    return over === undefined ? { entry } : { why: over };
  }

  /** Why a token that was good is not any more. */
  still(id: string, nowMs = Date.now()): string | undefined {
    try {
      this.#refresh();
    } catch (error) {
      return `the list of tokens cannot be read: ${reasonOf(error)}`;
    }
    const entry = this.#tokens.get(id);
    return entry === undefined ? 'the token is not known' : this.#over(entry, nowMs);
  }

  #over({ expiresMs, revokedMs }: TokenEntry, nowMs: number): string | undefined {
    if (revokedMs !== null) return 'the token is revoked';
    return expiresMs !== null && expiresMs <= nowMs ? 'the token has expired' : undefined;
  }

  /** A list that cannot be read any more has no tokens. */
  #refresh(): void {
    const stats = statSync(this.#file, { throwIfNoEntry: false, bigint: true });
    const stamp = stats === undefined ? 'none' : `${stats.ino} ${stats.size} ${stats.mtimeNs}`;
    if (stamp === this.#stamp) return;
    this.#tokens = new Map();
    this.#stamp = '';
    this.#tokens = new Map(readTokens(this.#file).map((entry) => [entry.id, entry]));
    this.#stamp = stamp;
  }
}
