/** Connections to a guest from outside that outlive a case, and the question whether they live. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { deadline, raceSignal } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import type { ConnectionLook } from './observation.ts';

const PORT = 7;
const CONNECTIONS = 3;
const SPARE_MS = 10_000;

const Opened = z.object({ type: z.literal('opened'), opened: z.number(), of: z.number() });
const Checked = z.object({
  type: z.literal('checked'),
  connections: z.array(z.object({ alive: z.boolean(), corrupt: z.number(), why: z.string().optional() })),
  answers: z.boolean(),
});

/** The program has this module's ending: .ts in the source tree, .js in the package. */
const PROGRAM = fileURLToPath(
  new URL(`./pulse-program.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
);

export class Pulse {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;

  /** @param enter words that run a program outside */
  constructor(enter: (argv: readonly string[]) => [string, ...string[]], target: string) {
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM];
    const [program, ...args] = enter([...node, target, String(PORT), String(CONNECTIONS)]);
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdin.on('error', () => {}); // it may have ended; the answer that does not come says so
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async #ask<T>(act: string, limitMs: number, answer: z.ZodType<T>): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify({ act, limitMs })}\n`);
    const limit = deadline('the connections from outside', 2 * limitMs + SPARE_MS);
    const { value, done } = await raceSignal(this.#answers.next(), limit);
    if (done) throw new ShadowferryError('PROBE_FAILED', { probe: 'pulse', why: 'it has ended' });
    return answer.parse(JSON.parse(value));
  }

  /** Opens the connections anew. @throws PROBE_FAILED when one is not answered within `limitMs` */
  async open(limitMs: number): Promise<void> {
    const { opened, of } = await this.#ask('open', limitMs, Opened);
    if (opened === of) return;
    const why = `${of - opened} of ${of} connections are not answered`;
    throw new ShadowferryError('PROBE_FAILED', { probe: 'pulse', why });
  }

  /** Asks each connection for an echo of what is sent from now on, and opens another one. */
  async check(limitMs: number): Promise<{ connections: ConnectionLook[]; answers: boolean }> {
    const { connections, answers } = await this.#ask('check', limitMs, Checked);
    return { connections, answers };
  }

  close(): void {
    this.#child.stdin.end();
    this.#child.kill('SIGKILL');
  }
}
