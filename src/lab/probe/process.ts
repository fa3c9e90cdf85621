import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { raceSignal } from '../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { type ProbeMessage, probeMessage } from './messages.ts';
import type { Gap } from './meters.ts';

type Result = Extract<ProbeMessage, { type: 'result' }>;

/** What a probe process has told in all. */
export interface ProbeReport {
  result: Result;
  gaps: Gap[];
  /** Rows of bucket number and one count per field. */
  rows: number[][];
}

/** A probe process as its parent sees it. */
export interface ProbeProcess {
  readonly pid: number | undefined;
  /** Resolves when the probe is connected and answered. @throws ShadowferryError PROBE_FAILED */
  readonly ready: Promise<void>;
  /** Asks for the result and waits until the process has ended. @throws ShadowferryError PROBE_FAILED */
  stop(signal?: AbortSignal): Promise<ProbeReport>;
  kill(): void;
}

/**
 * Starts a probe process. It ends when its standard input does, so it cannot outlive its parent.
 * @param probe its name, for errors
 */
export function startProbeProcess(probe: string, argv: readonly [string, ...string[]]): ProbeProcess {
  const [program, ...args] = argv;
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const gaps: Gap[] = [];
  const rows: number[][] = [];
  let stderr = '';
  let result: Result | undefined;
  const failure = (why: string, cause?: unknown) =>
    new ShadowferryError('PROBE_FAILED', { probe, why }, { cause });
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<ProbeReport>();
  const fail = (error: ShadowferryError) => {
    ready.reject(error); // the first one counts
    ended.reject(error);
  };
  ready.promise.catch(() => {}); // not everyone waits for both
  ended.promise.catch(() => {});

  const accept = (message: ProbeMessage) => {
    if (message.type === 'ready') ready.resolve();
    else if (message.type === 'gap') {
      const { startMs, ms, ended: gapEnded } = message;
      gaps.push({ startMs, ms, ended: gapEnded });
    } else if (message.type === 'samples') rows.push(...message.rows);
    else if (message.type === 'failed') fail(failure(message.why));
    else result = message;
  };
  createInterface({ input: child.stdout }).on('line', (line) => {
    try {
      accept(probeMessage.parse(JSON.parse(line)));
    } catch (error) {
      fail(failure(`it said ${JSON.stringify(line.slice(0, 200))}`, error));
    }
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-2000);
  });
  child.stdin.on('error', () => {}); // it may have ended
  child.once('error', (error) => fail(failure(reasonOf(error), error)));
  child.once('close', (code, killedBy) => {
    if (result) ended.resolve({ result, gaps, rows });
    else fail(failure(stderr.trim() || `it ended with ${killedBy ?? `exit code ${code}`}`));
    ready.reject(failure('it ended before it was ready'));
  });
  return {
    pid: child.pid,
    ready: ready.promise,
    stop(signal) {
      child.stdin.write('stop\n');
      return raceSignal(ended.promise, signal);
    },
    kill() {
      child.kill('SIGKILL');
    },
  };
}
