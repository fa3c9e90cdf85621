/**
 * What goes over a QMP socket: one JSON object per line, both ways. No socket and no command is known here.
 */
import { z } from 'zod';

/** Longest line accepted, in bytes: far above any real reply, so that a peer gone mad cannot eat the memory. */
export const MAX_LINE_BYTES = 64 * 1024 * 1024;

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** Cuts a byte stream into lines (LF or CRLF), however the stream is chunked. Empty lines are dropped. */
export class LineDecoder {
  #parts: Buffer[] = [];
  #size = 0;
  readonly #limit: number;

  constructor(limit: number = MAX_LINE_BYTES) {
    this.#limit = limit;
  }

  /**
   * The lines that `chunk` completes, without their ends; the rest is kept for the next call.
   * @throws RangeError when a line grows over the limit; the decoder is of no use after that.
   */
  push(chunk: Buffer): Buffer[] {
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      const line = this.#take();
      if (line.length > 0) lines.push(line);
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
    return lines;
  }

  /** Forgets an unfinished line. */
  reset(): void {
    this.#parts = [];
    this.#size = 0;
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    this.#size += part.length;
    if (this.#size > this.#limit) throw new RangeError(`a line is longer than ${this.#limit} bytes`);
    this.#parts.push(part);
  }

  #take(): Buffer {
    const [first, ...others] = this.#parts;
    const line = first === undefined || others.length > 0 ? Buffer.concat(this.#parts) : first;
    this.reset();
    return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line;
  }
}

/** Command arguments as they are sent: JSON data, QEMU's own names. */
export type QmpArguments = Readonly<Record<string, unknown>>;

const Greeting = z.object({
  QMP: z.object({
    version: z.object({
      qemu: z.object({ major: z.number(), minor: z.number(), micro: z.number() }),
      package: z.string(),
    }),
    capabilities: z.array(z.unknown()),
  }),
});

const Event = z.object({
  event: z.string(),
  data: z.record(z.string(), z.unknown()).default({}),
  timestamp: z.object({ seconds: z.number(), microseconds: z.number() }).optional(),
});

const Return = z.object({ return: z.unknown(), id: z.unknown() });

const Refusal = z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.unknown() });

/** One message from QEMU. `id` is whatever the command carried, `undefined` when it carried none. */
export type QmpMessage =
  | { kind: 'greeting'; version: QemuVersion }
  | { kind: 'event'; name: string; data: Record<string, unknown>; qemuTimeMs: number | undefined }
  | { kind: 'return'; id: unknown; value: unknown }
  | { kind: 'error'; id: unknown; class: string; description: string };

/** Version of a running QEMU, as its greeting says it. */
export interface QemuVersion {
  major: number;
  minor: number;
  micro: number;
  /** The distributor's suffix, such as `Debian 1:7.2+dfsg-7`; may be empty. */
  package: string;
}

/**
 * Reads one line from QEMU.
 * @throws Error when the line is not JSON or not one of the four messages of QMP; the text says which.
 */
export function parseMessage(line: Buffer): QmpMessage {
  const value = parseJson(line);
  if (typeof value !== 'object' || value === null) throw new Error(`not a QMP message: ${excerpt(line)}`);
  const parsed = readMessage(value);
  if (!parsed) throw new Error(`not a QMP message: ${excerpt(line)}`);
  return parsed;
}

function readMessage(value: object): QmpMessage | undefined {
  if ('event' in value) {
    const { data, success } = Event.safeParse(value);
    return success
      ? { kind: 'event', name: data.event, data: data.data, qemuTimeMs: timeOf(data) }
      : undefined;
  }
  if ('return' in value) {
    const { data, success } = Return.safeParse({ id: undefined, ...value });
    return success ? { kind: 'return', id: data.id, value: data.return } : undefined;
  }
  if ('error' in value) {
    const { data, success } = Refusal.safeParse({ id: undefined, ...value });
    if (!success) return undefined;
    return { kind: 'error', id: data.id, class: data.error.class, description: data.error.desc };
  }
  const { data, success } = Greeting.safeParse(value);
  if (!success) return undefined;
  const { qemu, package: suffix } = data.QMP.version;
  return { kind: 'greeting', version: { ...qemu, package: suffix } };
}

/** QEMU's own time of an event in milliseconds since the epoch; `undefined` when it could not read its clock. */
function timeOf({ timestamp }: z.infer<typeof Event>): number | undefined {
  if (!timestamp || timestamp.seconds < 0) return undefined;
  return timestamp.seconds * 1000 + timestamp.microseconds / 1000;
}

/** @throws Error naming the start of the line when it is not JSON. */
export function parseJson(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'));
  } catch (cause) {
    throw new Error(`not JSON: ${excerpt(line)}`, { cause });
  }
}

function excerpt(line: Buffer): string {
  const text = JSON.stringify(line.subarray(0, 80).toString('utf8'));
  return line.length > 80 ? `${text}…` : text;
}

/** The line for one command. @throws TypeError when the arguments are not JSON data. */
export function encodeCommand(command: string, args: QmpArguments | undefined, id: string): string {
  return `${JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }), id })}\n`;
}
