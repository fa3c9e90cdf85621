/** What a parser told, and the stream that it makes when it is put together again. */
import { PAGE_BYTES } from './format.ts';
import { pageHeader } from './page-header.ts';
import type { RamBlock, RamStreamParser, StreamSink } from './parser.ts';

export class Recorder implements StreamSink {
  readonly told: string[] = [];
  readonly blocks: RamBlock[] = [];
  readonly #parts: Uint8Array[] = [];
  parser!: RamStreamParser;

  bytes(chunk: Uint8Array, from: number, to: number): void {
    this.#parts.push(chunk.slice(from, to));
  }

  block(index: number, block: RamBlock): void {
    this.blocks[index] = block;
  }

  page(block: number, address: number, continued: boolean, chunk: Uint8Array, from: number): void {
    this.#say('page', block, address, continued);
    this.#parts.push(chunk.slice(from, from + PAGE_BYTES));
  }

  zero(block: number, address: number, continued: boolean): void {
    this.#say('zero', block, address, continued);
    this.#parts.push(Uint8Array.of(0));
  }

  end(): void {
    this.told.push('end');
  }

  /** The stream, from what was told of it. */
  restored = (): Uint8Array => new Uint8Array(Buffer.concat(this.#parts));

  #say(kind: 'page' | 'zero', block: number, address: number, continued: boolean): void {
    this.told.push(`${kind} ${block} ${address / PAGE_BYTES} ${continued ? 'continued' : 'named'}`);
    this.#parts.push(pageHeader(kind, continued ? undefined : this.blocks[block]?.name, address));
  }
}
