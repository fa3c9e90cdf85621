/** A thousand requests a second, from a process of their own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { deadline } from '../../src/base/deadline.ts';
import { dial } from '../../src/hypervisor/qmp/dial.ts';

export const RATE = 1_000;
export const SECONDS = 30;
const LISTEN_MS = 30_000;

const program = (name: string) => fileURLToPath(new URL(`./${name}`, import.meta.url));

const Reached = z.object({
  asked: z.number(),
  answered: z.number(),
  perSecond: z.number(),
  statuses: z.record(z.string(), z.number()),
  unanswered: z.number(),
  p50Ms: z.number().nullable(),
  p99Ms: z.number().nullable(),
  /** Processor time of the process that asked, its start included. */
  processorMs: z.number(),
});
export type Reached = z.infer<typeof Reached>;

/** A process that yields to everybody: a user's program runs on another machine. */
function start(name: string, args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const words = [process.execPath, '--disable-warning=ExperimentalWarning', program(name), ...args];
  return spawn('nice', ['-n', '10', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
}

/** Asks whoever listens on a socket, as `RATE` and `SECONDS` say. @param token whose requests they are, if anybody's */
export async function load(socket: string, token?: string): Promise<Reached> {
  const env: Record<string, string> = token === undefined ? {} : { LOAD_TOKEN: token };
  const child = start('load-program.ts', [socket, String(RATE), String(SECONDS)], env);
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  await once(child, 'close');
  return Reached.parse(JSON.parse(text));
}

/** The same against a server that does nothing. */
export async function loadNothing(socket: string): Promise<Reached> {
  const server = start('nothing-program.ts', [socket]);
  try {
    (await dial(socket, deadline('the server that does nothing', LISTEN_MS))).destroy();
    return await load(socket);
  } finally {
    const gone = once(server, 'close');
    server.kill('SIGTERM');
    await gone;
  }
}
