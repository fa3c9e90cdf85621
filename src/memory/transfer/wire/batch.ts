/** What the parser told of one chunk, to be hashed and then encoded. */
import { PAGE_BYTES } from '../stream/format.ts';
import type { RamBlock, StreamSink } from '../stream/parser.ts';

export type Token =
  | { kind: 'bytes'; chunk: Uint8Array; from: number; to: number }
  | { kind: 'block'; block: RamBlock }
  | { kind: 'zeros'; block: number; page: number; continued: boolean; count: number }
  | { kind: 'page'; block: number; page: number; continued: boolean; chunk: Uint8Array; from: number }
  | { kind: 'end' };

export class Batch implements StreamSink {
  readonly tokens: Token[] = [];

  bytes(chunk: Uint8Array, from: number, to: number): void {
    this.tokens.push({ kind: 'bytes', chunk, from, to });
  }

  block(_index: number, block: RamBlock): void {
    this.tokens.push({ kind: 'block', block });
  }

  page(block: number, address: number, continued: boolean, chunk: Uint8Array, from: number): void {
    this.tokens.push({ kind: 'page', block, page: address / PAGE_BYTES, continued, chunk, from });
  }

  zero(block: number, address: number, continued: boolean): void {
    const page = address / PAGE_BYTES;
    const last = this.tokens.at(-1);
    if (continued && last?.kind === 'zeros' && last.block === block && last.page + last.count === page)
      last.count += 1;
    else this.tokens.push({ kind: 'zeros', block, page, continued, count: 1 });
  }

  end(): void {
    this.tokens.push({ kind: 'end' });
  }
}
