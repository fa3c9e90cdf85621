/**
 * Quotes one word for a POSIX shell. This is the only place where data becomes shell text:
 * everything inside single quotes is literal, so any byte but NUL is safe.
 * @throws RangeError when the word holds a NUL, which no shell word can.
 */
export function shellQuote(word: string): string {
  if (word.includes('\0')) throw new RangeError('a shell word cannot hold a NUL character');
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Quotes an argument vector as one shell command line. */
export function shellCommand(argv: readonly string[]): string {
  return argv.map(shellQuote).join(' ');
}
