/** Ids of migrations, swaps and rescues: they grow with the time, and are not guessed. */
import { randomBytes } from 'node:crypto';

const LETTER = { migration: 'm', swap: 's', rescue: 'r' } as const;

export function newId(kind: keyof typeof LETTER): string {
  return `${LETTER[kind]}${Date.now().toString(36)}${randomBytes(3).toString('hex')}`;
}
