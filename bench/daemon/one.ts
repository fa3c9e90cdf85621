/** One real daemon, a process of its own in a directory of its own, and what the kernel says that it costs. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DaemonProcess } from '../../src/lab/daemon-process.ts';

/** Clock ticks of /proc, which are the same wherever Linux runs. */
const TICK_MS = 10;
const ASK_AGAIN_MS = 5;

export interface OneDaemon extends AsyncDisposable {
  daemon: DaemonProcess;
  state: string;
  socket: string;
}

/** Prepares a daemon; it is not started yet. @param settings more of its configuration */
export function makeDaemon(settings: Record<string, unknown> = {}): OneDaemon {
  const directory = mkdtempSync(join(tmpdir(), 'sf-'));
  const state = join(directory, 's');
  for (const each of [state, join(directory, 'run')]) mkdirSync(each, { mode: 0o700 });
  const socket = join(directory, 'run', 'd.sock');
  const config = join(directory, 'daemon.yaml');
  // JSON is YAML
  writeFileSync(config, JSON.stringify({ host: 'alpha', state, socket: { path: socket }, ...settings }), {
    mode: 0o600,
  });
  const log = join(directory, 'daemon.log');
  const daemon = new DaemonProcess({
    ...{ name: 'alpha', config, socket, log },
    enter: ([program = '', ...args]) => [program, ...args],
  });
  return {
    ...{ daemon, state, socket },
    [Symbol.asyncDispose]: async () => {
      await daemon.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Resident memory of a process, bytes. */
export function residentBytes(pid: number): number {
  const found = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(found?.[1] ?? Number.NaN) * 1024;
}

/** Processor time that a process has used since it was started, ms. */
export function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

export interface Answer {
  status: number;
  body: string;
}

/** One request over a Unix socket. */
export function ask(socketPath: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.once('error', reject);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    sent.once('error', reject);
    sent.end();
  });
}

/** Asks for its health until it answers. */
export async function untilHealthy(socket: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const answer = await ask(socket, '/v1/health').catch(() => undefined);
    if (answer?.status === 200) return;
    await delay(ASK_AGAIN_MS);
  }
}

/** The sum of a counter over its labels, in the text that Prometheus reads; 0 where it was never counted. */
export function counterIn(metrics: string, name: string): number {
  const lines = metrics
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
