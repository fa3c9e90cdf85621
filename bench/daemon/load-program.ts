/**
 * Asks a daemon at a steady rate, whether it answers or not: SOCKET RATE SECONDS. When the time is over it prints what
 * it reached, as one line of JSON. What it asks with, if anything, is a token in the environment. It writes ready-made
 * bytes to sockets, as it shares the machine with what is measured: a client of a library costs as much as the daemon.
 */
import { connect } from 'node:net';

const [socketPath = '', rateText = '', secondsText = ''] = process.argv.slice(2);
const [rate, seconds] = [Number(rateText), Number(secondsText)];
const { LOAD_TOKEN: token } = process.env;
const PATHS = ['/v1/health', '/v1/vms', '/v1/migrations?limit=20', '/v1/devices', '/v1/hosts'];
const head = `host: daemon\r\n${token === undefined ? '' : `authorization: Bearer ${token}\r\n`}\r\n`;
const REQUESTS = PATHS.map((path) => `GET ${path} HTTP/1.1\r\n${head}`);
const TICK_MS = 10;
const CONNECTIONS = 64;
/** Answers that are still awaited when the time is over may take so long. */
const LATE_MS = 5_000;

const statuses: Record<string, number> = {};
const tookMs: number[] = [];
let asked = 0;
let dueCount = 0;
let open = 0;
const free: (() => void)[] = [];

function count(status: string): void {
  statuses[status] = (statuses[status] ?? 0) + 1;
}

/** The whole answer that a text begins with: its status and its length. */
function answerIn(text: string): { status: string; length: number } | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [, status = ''] = /^HTTP\/1\.1 (\d{3})/.exec(text) ?? [];
  const [, body = '0'] = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end)) ?? [];
  const length = end + 4 + Number(body);
  return text.length < length ? undefined : { status, length };
}

/** One connection: it asks when its turn comes, and again when it was answered and something is due. */
function openConnection(): void {
  const socket = connect(socketPath);
  socket.setNoDelay().setEncoding('latin1');
  let text = '';
  let beganMs = 0;
  let waits = false;
  const ask = () => {
    beganMs = performance.now();
    waits = true;
    open += 1;
    socket.write(REQUESTS[asked % REQUESTS.length] ?? '');
    asked += 1;
  };
  const next = () => {
    if (asked < dueCount) ask();
    else free.push(ask);
  };
  socket.on('data', (piece: string) => {
    text += piece;
    const answer = answerIn(text);
    if (answer === undefined || !waits) return;
    text = text.slice(answer.length);
    waits = false;
    open -= 1;
    tookMs.push(performance.now() - beganMs);
    count(answer.status);
    next();
  });
  socket.on('error', () => {}); // it closes
  socket.once('close', () => {
    const at = free.indexOf(ask);
    if (at >= 0) free.splice(at, 1);
    if (waits) {
      open -= 1;
      count('broken');
    }
    if (performance.now() < overMs) setTimeout(openConnection, TICK_MS);
  });
  socket.once('connect', next);
}

const beganMs = performance.now();
const overMs = beganMs + seconds * 1000;
for (let n = 0; n < CONNECTIONS; n += 1) openConnection();
const timer = setInterval(() => {
  const now = performance.now();
  dueCount = Math.floor((Math.min(now - beganMs, seconds * 1000) / 1000) * rate);
  while (asked < dueCount) {
    const ask = free.pop();
    if (ask === undefined) break;
    ask();
  }
  if (now < overMs || (open > 0 && now < overMs + LATE_MS)) return;
  clearInterval(timer);
  const sorted = tookMs.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? null;
  const answered = sorted.length;
  const perSecond = answered / seconds;
  const processorMs = Math.round(process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000);
  const line = {
    ...{ asked, answered, perSecond, statuses, unanswered: dueCount - answered },
    ...{ p50Ms: at(0.5), p99Ms: at(0.99), processorMs },
  };
  process.stdout.write(`${JSON.stringify(line)}\n`, () => process.exit(0));
}, TICK_MS);
