/** The real command line, as a user starts it, with a state directory of its own. */
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));

export interface CliResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface CliProcess {
  /** Sends text to its standard input. */
  write(text: string): void;
  /** Ends its standard input. */
  close(): void;
  kill(signal: NodeJS.Signals): void;
  /** Resolves at the first line of its standard output that `accepts` takes; rejects when it ends before. */
  line(accepts: (line: string) => boolean): Promise<string>;
  /** Resolves when it has ended and nobody holds its output open any more. */
  readonly ended: Promise<CliResult>;
}

export function makeState(): string {
  return mkdtempSync(join(tmpdir(), 'sf-state-'));
}

export function startCli(state: string, args: readonly string[]): CliProcess {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', CLI, ...args], {
    env: { ...process.env, SHADOWFERRY_STATE: state, SHADOWFERRY_ACCELERATOR: 'tcg' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    stdout += `${line}\n`;
    lines.push(line);
    for (const look of waiting) look();
  });
  const ended = new Promise<CliResult>((resolve) =>
    child.once('close', (code, signal) =>
      resolve({ code: code ?? (signal === null ? -1 : 128), stdout, stderr }),
    ),
  );
  return {
    write: (text) => child.stdin.write(text),
    close: () => child.stdin.end(),
    kill: (signal) => child.kill(signal),
    line: (accepts) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = lines.find(accepts);
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
        void ended.then((result) => reject(new Error(`it ended: ${JSON.stringify(result)}`)));
      }),
    ended,
  };
}

export function runCli(state: string, args: readonly string[]): Promise<CliResult> {
  return startCli(state, args).ended;
}

/** The objects of `--json`, one per line. */
export function objects({ stdout }: Pick<CliResult, 'stdout'>): Record<string, unknown>[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}
