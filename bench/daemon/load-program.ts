/**
 * Asks a daemon at a steady rate, whether it answers or not: SOCKET RATE SECONDS. When the time is over it prints what
 * it reached, as one line of JSON. What it asks with, if anything, is a token in the environment.
 */
import { Agent, request } from 'node:http';

const [socketPath = '', rateText = '', secondsText = ''] = process.argv.slice(2);
const [rate, seconds] = [Number(rateText), Number(secondsText)];
const PATHS = ['/v1/health', '/v1/vms', '/v1/migrations?limit=20', '/v1/devices', '/v1/hosts'];
const TICK_MS = 10;
const CONNECTIONS = 64;
const { LOAD_TOKEN: token } = process.env;
const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
const statuses: Record<string, number> = {};
const tookMs: number[] = [];
let asked = 0;
let open = 0;

function count(status: string): void {
  statuses[status] = (statuses[status] ?? 0) + 1;
  open -= 1;
}

function askOne(): void {
  const path = PATHS[asked % PATHS.length] ?? '/v1/health';
  const began = performance.now();
  asked += 1;
  open += 1;
  const sent = request({ socketPath, path, agent, headers }, (response) => {
    response.resume();
    response.once('end', () => {
      tookMs.push(performance.now() - began);
      count(String(response.statusCode));
    });
    response.once('error', () => count('broken'));
  });
  sent.once('error', () => count('broken'));
  sent.end();
}

const began = performance.now();
const timer = setInterval(() => {
  const elapsed = performance.now() - began;
  const due = Math.min(elapsed / 1000, seconds) * rate;
  while (asked < due) askOne();
  if (elapsed < seconds * 1000 || (open > 0 && elapsed < (seconds + 5) * 1000)) return;
  clearInterval(timer);
  agent.destroy();
  const sorted = tookMs.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? null;
  const answered = sorted.length;
  const perSecond = answered / seconds;
  const line = { asked, answered, perSecond, statuses, unanswered: open, p50Ms: at(0.5), p99Ms: at(0.99) };
  process.stdout.write(`${JSON.stringify(line)}\n`, () => process.exit(0));
}, TICK_MS);
