import { spawn } from 'node:child_process';
import { ShadowferryError } from '../errors.ts';

export interface ExecOptions {
  /** Kills the command and rejects with the signal's reason. */
  signal?: AbortSignal;
  input?: string | Uint8Array;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Do not reject on a non-zero exit code. */
  allowFailure?: boolean;
}

export interface ExecResult {
  code: number;
  stdout: string;
  stderr: string;
}

/**
 * Runs a program with an argument vector (never through a shell) and collects its output.
 * @throws ShadowferryError TOOL_MISSING when there is no such program, COMMAND_FAILED on a non-zero exit.
 */
export function exec(argv: readonly [string, ...string[]], options: ExecOptions = {}): Promise<ExecResult> {
  const [program, ...args] = argv;
  return new Promise((resolve, reject) => {
    options.signal?.throwIfAborted();
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const onAbort = () => child.kill('SIGKILL');
    options.signal?.addEventListener('abort', onAbort, { once: true });
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => {}); // the program may close its input early
    child.stdin.end(options.input);
    child.once('error', (error: NodeJS.ErrnoException) => {
      options.signal?.removeEventListener('abort', onAbort);
      if (error.code === 'ENOENT') {
        reject(
          new ShadowferryError(
            'TOOL_MISSING',
            { tool: program, install: `Install ${program}.` },
            { cause: error },
          ),
        );
      } else reject(error);
    });
    child.once('close', (code, killedBy) => {
      options.signal?.removeEventListener('abort', onAbort);
      if (options.signal?.aborted) return reject(options.signal.reason);
      const result = {
        code: code ?? 128,
        stdout: Buffer.concat(stdout).toString('utf8'),
        stderr: Buffer.concat(stderr).toString('utf8'),
      };
      if (result.code === 0 || options.allowFailure) return resolve(result);
      const text = result.stderr.trim() || result.stdout.trim() || `killed by ${killedBy}`;
      reject(
        new ShadowferryError('COMMAND_FAILED', { command: argv.join(' '), code: result.code, stderr: text }),
      );
    });
  });
}
