/** A daemon for tests: real in everything but the look at the machine, in a directory of its own. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { checksOf } from '../base/check.ts';
import { Problem } from './api/model.ts';
import { DaemonConfig } from './config/model.ts';
import { type Daemon, type DaemonOptions, startDaemon } from './daemon.ts';

export interface TestDaemon {
  daemon: Daemon;
  directory: string;
  state: string;
  socket: string;
  /** Everything that was logged. */
  logged: string[];
  /** How often it looked at the machine. */
  looks: () => number;
  send: (path: string, options?: SendOptions) => Promise<Reply>;
}

export interface SendOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** Over TLS instead of the Unix socket. */
  tls?: { port: number; ca: string; cert?: string; key?: string };
}

export interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** Sends a request as it is: nothing is put right, so that what is wrong arrives. */
export function send(socketPath: string, path: string, options: SendOptions = {}): Promise<Reply> {
  const { tls, body } = options;
  const common = {
    path,
    method: options.method ?? 'GET',
    headers: {
      ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
      ...options.headers,
    },
    agent: false,
  } as const;
  return new Promise((resolve, reject) => {
    const where =
      tls === undefined
        ? httpRequest({ ...common, socketPath })
        : httpsRequest({ ...common, ...tls, host: '127.0.0.1', servername: 'alpha' });
    where.once('error', reject);
    where.once('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
      });
    });
    where.end(body);
  });
}

/** Writes bytes and gives all that comes back until the other side closes. */
export function talk(socketPath: string, ...pieces: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(socketPath);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.once('error', (error) =>
      chunks.length > 0 ? resolve(Buffer.concat(chunks).toString()) : reject(error),
    );
    socket.once('close', () => resolve(Buffer.concat(chunks).toString()));
    for (const piece of pieces) socket.write(piece);
  });
}

/** The problem that an answer is. Throws when it is none. */
export function problemIn(reply: Reply): Problem {
  if (reply.headers['content-type'] !== 'application/problem+json')
    throw new Error(`no problem: ${reply.body}`);
  return Problem.parse(JSON.parse(reply.body));
}

export function scratch(t: { after: TestContext['after'] }): string {
  const directory = mkdtempSync(join(tmpdir(), 'sf-daemon-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** Starts one; it is stopped and gone after the test. */
export async function testDaemon(
  t: { after: TestContext['after'] },
  settings: Record<string, unknown> = {},
  options: Partial<DaemonOptions> = {},
  directory = scratch(t),
): Promise<TestDaemon> {
  const state = join(directory, 'state');
  mkdirSync(join(directory, 'run'), { recursive: true, mode: 0o700 });
  const socket = join(directory, 'run', 'd.sock');
  const config = DaemonConfig.parse({
    ...{ host: 'alpha', state, socket: { path: socket } },
    networks: { lan: { bridge: 'br0' } },
    devices: [
      { id: 'nic0', network: 'lan', model: 'e1000e' },
      { id: 'nic1', network: 'lan', address: '0000:ff:1f.7' },
    ],
    peers: [{ name: 'beta', address: '192.0.2.11:7443' }],
    limits: { requestsPerSecond: 1_000_000 },
    ...settings,
  });
  const logged: string[] = [];
  let looks = 0;
  const examine = async () => {
    looks += 1;
    return { checks: [checksOf('Test').ok('all', 'is well')] };
  };
  const log = pino({ level: 'debug' }, { write: (line: string) => logged.push(line) });
  const daemon = await startDaemon({ config, log, version: '1.2.3', examine, graceMs: 500, ...options });
  t.after(() => daemon.stop());
  return {
    daemon,
    directory,
    state,
    socket,
    logged,
    looks: () => looks,
    send: (path, how) => send(socket, path, how),
  };
}
