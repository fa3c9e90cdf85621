/** Turns what the parser told into frames: what the other end has already is named, not sent. */
import { HASH_BYTES } from '../pages/page-hash.ts';
import type { PageIndex } from '../pages/page-index.ts';
import { PAGE_BYTES } from '../stream/format.ts';
import type { RamBlock } from '../stream/parser.ts';
import type { Batch, Token } from './batch.ts';
import { ByteWriter } from './bytes.ts';
import type { MemoryVersion } from './memory-version.ts';
import { MAX_PAYLOAD, OP, RECENT_PAGES } from './ops.ts';

interface Content {
  readonly chunk: Uint8Array;
  readonly from: number;
}

type Op =
  | { kind: 'bytes'; chunk: Uint8Array; from: number; to: number }
  | { kind: 'block'; block: RamBlock }
  | { kind: 'seek'; block: number; page: number; continued: boolean }
  | { kind: 'zeros'; count: number }
  | { kind: 'pages' | 'same'; contents: Content[] }
  | { kind: 'recent'; place: number; count: number }
  | { kind: 'end'; digest: Uint8Array };

/** What was decided for one frame; it can be printed again without naming the other end's store. */
export type FramePlan = readonly Op[];

/** Pages, and what became of them. */
export interface EncoderCounts {
  zeros: number;
  /** Sent with their content. */
  sent: number;
  /** Named, because the other end's store has them. */
  same: number;
  /** Named, because they were sent a moment ago. */
  recent: number;
}

export class Encoder {
  readonly counts: EncoderCounts = { zeros: 0, sent: 0, same: 0, recent: 0 };
  readonly #version: MemoryVersion;
  #theirs: PageIndex | undefined;
  readonly #recent = new Map<string, number>();
  readonly #places: (string | undefined)[] = new Array(RECENT_PAGES);
  #nextPlace = 0;
  #block = -1;
  #page = -1;
  /** The memory is complete: what follows is no part of its version. */
  #digest: Buffer | undefined;

  /** @param theirs what the other end's store holds; left out when it holds nothing that is known here */
  constructor(version: MemoryVersion, theirs?: PageIndex) {
    this.#version = version;
    this.#theirs = theirs;
  }

  /** Of the whole memory; undefined until all of it went by. */
  get digest(): Buffer | undefined {
    return this.#digest;
  }

  /** The other end's store proved to be damaged: nothing of it is named any more. */
  distrust(): void {
    this.#theirs = undefined;
  }

  /**
   * Decides what is sent of a batch.
   * @param hashes of its pages, in their order
   * @param each called for each page with content, with where in `hashes` its hash begins
   */
  plan(
    batch: Batch,
    hashes: Uint8Array,
    each?: (token: Token & { kind: 'page' }, at: number) => void,
  ): FramePlan {
    const ops: Op[] = [];
    let at = 0;
    for (const token of batch.tokens) {
      switch (token.kind) {
        case 'bytes':
          ops.push(token);
          if (this.#digest === undefined) this.#version.bytes(token.chunk.subarray(token.from, token.to));
          break;
        case 'block':
          ops.push(token);
          this.#version.block(token.block);
          break;
        case 'zeros':
          this.#seek(ops, token, token.count);
          ops.push({ kind: 'zeros', count: token.count });
          this.counts.zeros += token.count;
          this.#version.zeros(token.block, token.page, token.count);
          break;
        case 'page':
          this.#seek(ops, token, 1);
          this.#content(ops, token, hashes, at);
          this.#version.page(token.block, token.page, hashes, at);
          each?.(token, at);
          at += HASH_BYTES;
          break;
        case 'end':
          this.#digest = this.#version.digest();
          ops.push({ kind: 'end', digest: this.#digest });
          break;
        default:
          token satisfies never;
      }
    }
    return ops;
  }

  /** The pages in between need no word of where they are. */
  #seek(ops: Op[], token: Token & { kind: 'page' | 'zeros' }, count: number): void {
    const { block, page, continued } = token;
    if (!continued || block !== this.#block || page !== this.#page)
      ops.push({ kind: 'seek', block, page, continued });
    this.#block = block;
    this.#page = page + count;
  }

  #content(ops: Op[], token: Token & { kind: 'page' }, hashes: Uint8Array, at: number): void {
    const { block, page, chunk, from } = token;
    const last = ops.at(-1);
    if (this.#theirs?.is(block, page, hashes, at)) {
      this.counts.same += 1;
      if (last?.kind === 'same') last.contents.push({ chunk, from });
      else ops.push({ kind: 'same', contents: [{ chunk, from }] });
      return;
    }
    const key = Buffer.from(hashes.buffer, hashes.byteOffset + at, HASH_BYTES).toString('latin1');
    const place = this.#recent.get(key);
    if (place !== undefined) {
      this.counts.recent += 1;
      if (last?.kind === 'recent' && last.place + last.count === place) last.count += 1;
      else ops.push({ kind: 'recent', place, count: 1 });
      return;
    }
    this.#keep(key);
    this.counts.sent += 1;
    if (last?.kind === 'pages') last.contents.push({ chunk, from });
    else ops.push({ kind: 'pages', contents: [{ chunk, from }] });
  }

  /** The receiver keeps the same pages in the same places. */
  #keep(key: string): void {
    const place = this.#nextPlace;
    this.#nextPlace = (place + 1) % RECENT_PAGES;
    const gone = this.#places[place];
    if (gone !== undefined) this.#recent.delete(gone);
    this.#places[place] = key;
    this.#recent.set(key, place);
  }
}

/** More than any operation takes without its content. */
const OP_BYTES = 300;

function expectedBytes(plan: FramePlan): number {
  let bytes = 0;
  for (const op of plan) {
    bytes += OP_BYTES;
    if (op.kind === 'bytes') bytes += op.to - op.from;
    if (op.kind === 'pages' || op.kind === 'same') bytes += op.contents.length * PAGE_BYTES;
  }
  return bytes;
}

/**
 * The bytes of a frame.
 * @param plain what the receiver's store was to give is sent after all
 * @param free bytes before it, for the caller
 */
export function printFrame(plan: FramePlan, plain = false, free = 0): Buffer {
  const out = new ByteWriter(MAX_PAYLOAD, free + expectedBytes(plan));
  out.room(free);
  for (const op of plan) {
    switch (op.kind) {
      case 'bytes':
        out.byte(OP.bytes);
        out.number(op.to - op.from);
        out.copy(op.chunk, op.from, op.to);
        break;
      case 'block':
        out.byte(OP.block);
        out.byte(op.block.name.length);
        out.copy(Buffer.from(op.block.name, 'latin1'));
        out.number(op.block.length);
        break;
      case 'seek':
        out.byte(OP.seek);
        out.number(op.block);
        out.number(op.page);
        out.byte(op.continued ? 1 : 0);
        break;
      case 'zeros':
        out.byte(OP.zeros);
        out.number(op.count);
        break;
      case 'same':
      case 'pages': {
        const named = op.kind === 'same' && !plain;
        out.byte(named ? OP.same : op.kind === 'same' ? OP.plain : OP.pages);
        out.number(op.contents.length);
        if (!named) for (const { chunk, from } of op.contents) out.copy(chunk, from, from + PAGE_BYTES);
        break;
      }
      case 'recent':
        out.byte(OP.recent);
        out.number(op.place);
        out.number(op.count);
        break;
      case 'end':
        out.byte(OP.end);
        out.copy(op.digest);
        break;
      default:
        op satisfies never;
    }
  }
  return out.bytes;
}
