/**
 * A process outside, where the VMs' peers are: keeps connections to a guest's echo service, each with a record under way
 * all the time, and says whether they live. One JSON object a line: questions on stdin, answers on stdout.
 * Arguments: ADDRESS PORT CONNECTIONS
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const EVERY_MS = 50;
/** Until a connection that was refused is tried again. */
const AGAIN_MS = 100;
const RECORD_BYTES = 8;
/** Records that may wait for their echo: the guest may be away for long. */
const MOST_WAITING = 400;

const [address = '', port = '7', count = '3'] = process.argv.slice(2);

class Line {
  readonly #socket: Socket;
  #sent = 0;
  #echoed = 0;
  #rest = Buffer.alloc(0);
  #timer: NodeJS.Timeout | undefined;
  corrupt = 0;
  why: string | undefined;

  constructor() {
    this.#socket = connect({ host: address, port: Number(port) });
    this.#socket.setNoDelay(true);
    this.#socket.on('connect', () => {
      this.#timer = setInterval(() => this.#send(), EVERY_MS);
      this.#send();
    });
    this.#socket.on('data', (data: Buffer) => this.#take(data));
    this.#socket.on('error', (error) => this.#end(error.message));
    this.#socket.on('close', () => this.#end('the guest closed it'));
  }

  #send(): void {
    if (this.#sent - this.#echoed >= MOST_WAITING) return; // nobody waits for more
    const record = Buffer.alloc(RECORD_BYTES);
    record.writeBigUInt64BE(BigInt(this.#sent));
    this.#sent += 1;
    this.#socket.write(record);
  }

  #take(data: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, data]);
    while (this.#rest.length >= RECORD_BYTES) {
      if (this.#rest.readBigUInt64BE() !== BigInt(this.#echoed)) this.corrupt += RECORD_BYTES;
      this.#echoed += 1;
      this.#rest = this.#rest.subarray(RECORD_BYTES);
    }
  }

  #end(why: string): void {
    clearInterval(this.#timer);
    this.why ??= why;
  }

  /** Waits for the echo of something that is sent from now on. @returns why it did not come; undefined when it did */
  async dead(limitMs: number): Promise<string | undefined> {
    const wanted = this.#sent + 1;
    const end = performance.now() + limitMs;
    while (this.#echoed < wanted && this.why === undefined && performance.now() < end) await delay(10);
    if (this.#echoed >= wanted) return undefined;
    // it may come yet, so this is not the end of the connection
    return this.why ?? `no echo for ${limitMs} ms (${this.#sent} sent, ${this.#echoed} came back)`;
  }

  close(): void {
    clearInterval(this.#timer);
    this.why ??= 'closed by us';
    this.#socket.destroy();
  }
}

let lines: Line[] = [];
const tell = (answer: object) => process.stdout.write(`${JSON.stringify(answer)}\n`);

async function check(limitMs: number): Promise<object> {
  const connections = await Promise.all(
    lines.map(async (line) => {
      const why = await line.dead(limitMs);
      return { alive: why === undefined, corrupt: line.corrupt, ...(why === undefined ? {} : { why }) };
    }),
  );
  const fresh = new Line();
  const answers = (await fresh.dead(limitMs)) === undefined;
  fresh.close();
  return { type: 'checked', connections, answers };
}

/** A connection that is answered; one that cannot be made yet is tried again, as the guest may have no link yet. */
async function opened(limitMs: number): Promise<Line | undefined> {
  const end = performance.now() + limitMs;
  while (performance.now() < end) {
    const line = new Line();
    if ((await line.dead(end - performance.now())) === undefined) return line;
    line.close();
    await delay(AGAIN_MS);
  }
  return undefined;
}

async function open(limitMs: number): Promise<object> {
  for (const line of lines) line.close();
  const made = await Promise.all(Array.from({ length: Number(count) }, () => opened(limitMs)));
  lines = made.filter((line) => line !== undefined);
  return { type: 'opened', opened: lines.length, of: made.length };
}

for await (const text of createInterface({ input: process.stdin })) {
  const question: unknown = JSON.parse(text);
  const { act, limitMs } = Object.assign({ act: '', limitMs: 10_000 }, question);
  tell(act === 'open' ? await open(limitMs) : await check(limitMs));
}
for (const line of lines) line.close();
