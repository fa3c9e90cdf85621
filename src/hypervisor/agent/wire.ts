/**
 * What goes over the guest agent's channel: JSON lines as in QMP, but without ids and greeting. Order is all
 * there is to match a reply by, so the stream is synchronised by a 0xFF byte and an echoed number.
 */
import { z } from 'zod';
import { reasonOf } from '../../errors.ts';
import { LineDecoder, parseJson } from '../qmp/wire.ts';

/** Never part of JSON text: before a request it makes the agent forget a half-read one, before a reply it marks it. */
export const SENTINEL = 0xff;

const Reply = z.union([
  z.object({ error: z.object({ class: z.string(), desc: z.string() }) }),
  z.object({ return: z.unknown() }),
]);

/** One reply; `marked` when a sentinel came right before it. */
export type AgentReply = { marked: boolean } & (
  | { kind: 'return'; value: unknown }
  | { kind: 'error'; class: string; description: string }
  | { kind: 'garbage'; problem: string }
);

/** Cuts the agent's bytes into replies. What stands before a sentinel on its line is leftover and dropped. */
export class AgentDecoder {
  readonly #lines: LineDecoder;

  constructor(limit?: number) {
    this.#lines = new LineDecoder(limit);
  }

  /** @throws RangeError when a line grows over the limit. */
  push(chunk: Buffer): AgentReply[] {
    return this.#lines.push(chunk).map(readLine);
  }

  reset(): void {
    this.#lines.reset();
  }
}

function readLine(line: Buffer): AgentReply {
  const sentinel = line.lastIndexOf(SENTINEL);
  const marked = sentinel !== -1;
  try {
    const reply = Reply.parse(parseJson(line.subarray(sentinel + 1)));
    if ('error' in reply) {
      return { marked, kind: 'error', class: reply.error.class, description: reply.error.desc };
    }
    return { marked, kind: 'return', value: reply.return };
  } catch (error) {
    const problem = error instanceof z.ZodError ? 'neither "return" nor "error"' : reasonOf(error);
    return { marked, kind: 'garbage', problem };
  }
}

export function encodeRequest(command: string, args?: Readonly<Record<string, unknown>>): string {
  return `${JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }) })}\n`;
}

/** A request whose reply is marked and echoes `token`: the stream is in step once it is read. */
export function encodeSync(token: number): Buffer {
  return Buffer.concat([
    Buffer.from([SENTINEL]),
    Buffer.from(encodeRequest('guest-sync-delimited', { id: token })),
  ]);
}
