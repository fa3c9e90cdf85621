/** Messages of the bootstrap: all on stderr, one line each. */

/** Exit code for something missing on this machine; the same as the catalogue's kind `missing`. */
export const EXIT_MISSING = 4;
/** Exit code for wrong arguments; the same as the catalogue's kind `input`. */
export const EXIT_INPUT = 2;

/** A failure that the user can act on: what happened, and what to do. */
export class BootstrapError extends Error {
  /**
   * @param {string} what
   * @param {string} fix
   * @param {number} [exitCode]
   */
  constructor(what, fix, exitCode = EXIT_MISSING) {
    super(what);
    this.fix = fix;
    this.exitCode = exitCode;
  }
}

/** @param {string} line */
export function say(line) {
  process.stderr.write(`shadowferry: ${line}\n`);
}
