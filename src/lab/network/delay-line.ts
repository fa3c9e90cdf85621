import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { deadline, raceSignal } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { NETNS_DIRECTORY } from './names.ts';

const SCRIPT = fileURLToPath(new URL('./delay-line.pl', import.meta.url));
const START_MS = 5000;

export interface DelaySettings {
  /** Milliseconds, in each direction. */
  delayMs: number;
  /** What may be on the way in each direction; more is dropped, as a full queue does. */
  queueBytes: number;
}

export interface DelayLineOptions extends DelaySettings {
  /** Where the two ends appear, as a tap each; they vanish when the delay line ends. */
  ends: readonly [{ netns: string; tap: string }, { netns: string; tap: string }];
}

/**
 * A process that carries Ethernet frames between two taps with a fixed delay, for kernels without sch_netem. It ends
 * when its standard input does, so it cannot outlive us.
 */
export class DelayLine {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.#child = child;
  }

  /** Starts the process; resolves when both taps exist. @throws ShadowferryError COMMAND_FAILED */
  static async start({ ends, delayMs, queueBytes }: DelayLineOptions): Promise<DelayLine> {
    const places = ends.flatMap(({ netns, tap }) => [`${NETNS_DIRECTORY}/${netns}`, tap]);
    const child = spawn('perl', [SCRIPT, ...places, micros(delayMs), `${queueBytes}`], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    child.stdin.on('error', () => {}); // it may end before it reads
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const lines = createInterface({ input: child.stdout });
    const failed = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('close', (code) =>
        reject(
          new ShadowferryError('COMMAND_FAILED', {
            command: 'the delay line',
            code: code ?? 128,
            stderr: stderr.trim(),
          }),
        ),
      );
    });
    const signal = deadline('starting the delay line', START_MS);
    try {
      await raceSignal(Promise.race([once(lines, 'line'), failed]), signal);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
    failed.catch(() => {}); // from now on its end is ours to bring about
    return new DelayLine(child);
  }

  /** Whether it still carries frames. */
  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Changes delay and queue; frames on the way keep the delay they were given. */
  set({ delayMs, queueBytes }: DelaySettings): void {
    this.#child.stdin.write(`${micros(delayMs)} ${queueBytes}\n`);
  }

  async stop(): Promise<void> {
    if (!this.alive) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL'); // it holds nothing but frames
    await ended;
  }
}

function micros(ms: number): string {
  return `${Math.round(ms * 1000)}`;
}
