/** The shell of the machine on which we run: for devices under a running server, without any VM. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import { EXEC_TIMEOUT_MS, type ExecGuestOptions, type ExecGuestResult, type GuestShell } from './shell.ts';

const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

/** The first `MAX_OUTPUT_BYTES` of a stream. */
class Output {
  readonly #parts: Buffer[] = [];
  #size = 0;
  truncated = false;

  add(chunk: Buffer): void {
    const room = MAX_OUTPUT_BYTES - this.#size;
    if (chunk.length > room) this.truncated = true;
    if (room <= 0) return;
    this.#parts.push(chunk.subarray(0, room));
    this.#size += Math.min(chunk.length, room);
  }

  toString(): string {
    return Buffer.concat(this.#parts).toString('utf8');
  }
}

function run(
  [program, ...args]: readonly [string, ...string[]],
  { input, env }: ExecGuestOptions,
  signal: AbortSignal,
): Promise<ExecGuestResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ExecGuestResult>();
  signal.throwIfAborted();
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(env === undefined ? {} : { env: { ...env } }),
  });
  const [stdout, stderr] = [new Output(), new Output()];
  const onAbort = () => {
    child.kill('SIGKILL');
    reject(signal.reason); // what it left in the background may hold its pipes open
  };
  signal.addEventListener('abort', onAbort, { once: true });
  child.stdout.on('data', (chunk: Buffer) => stdout.add(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.add(chunk));
  child.stdin.on('error', () => {}); // the program may close its input early
  child.stdin.end(input);
  child.once('error', (error: NodeJS.ErrnoException) => {
    // as a shell says it, and as the guest agent's client does
    const code = error.code === 'ENOENT' ? 127 : 126;
    resolve({ code, stdout: '', stderr: `${error.message}\n`, truncated: false });
  });
  child.once('close', (code, killedBy) => {
    resolve({
      code: code ?? 128 + (killedBy === null ? 0 : constants.signals[killedBy]),
      stdout: stdout.toString(),
      stderr: stderr.toString(),
      truncated: stdout.truncated || stderr.truncated,
    });
  });
  return promise.finally(() => signal.removeEventListener('abort', onAbort));
}

/** Runs programs on this machine, with the rights of this process. */
export class LocalShell implements GuestShell {
  readonly name = 'this machine';

  async exec(argv: readonly [string, ...string[]], options: ExecGuestOptions = {}): Promise<ExecGuestResult> {
    const { timeoutMs = EXEC_TIMEOUT_MS } = options;
    const text = argv.join(' ');
    const result = await run(argv, options, deadline(`"${text}"`, timeoutMs, options.signal));
    if (options.check && result.code !== 0) {
      const stderr = result.stderr.trim() || result.stdout.trim();
      throw new ShadowferryError('GUEST_COMMAND_FAILED', { command: text, code: result.code, stderr });
    }
    return result;
  }

  async waitReady({ signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
  }

  async close(): Promise<void> {}
}
