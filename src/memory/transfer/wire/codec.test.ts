import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hashPage } from '../pages/page-hash.ts';
import { PAGE_BYTES } from '../stream/format.ts';
import { RamStreamParser } from '../stream/parser.ts';
import { StreamWriter } from '../stream/writer.test-data.ts';
import { Batch } from './batch.ts';
import { Decoder, type KnownPages } from './decode.ts';
import { Encoder, type FramePlan, printFrame } from './encode.ts';
import { MemoryVersion } from './memory-version.ts';
import { OP, RECENT_PAGES } from './ops.ts';

const PAGES = 5000;
function page(seed: number): Buffer {
  const content = Buffer.alloc(PAGE_BYTES, seed % 251);
  content.writeUInt32LE(seed, 4000);
  return content;
}

function hashesOf(batch: Batch): Uint8Array {
  return Buffer.concat(
    batch.tokens.flatMap((token) =>
      token.kind === 'page' ? [hashPage(token.chunk.subarray(token.from, token.from + PAGE_BYTES))] : [],
    ),
  );
}

/** One end: takes the stream in chunks and gives frames. */
class Sender {
  readonly version = new MemoryVersion('web1', 1);
  readonly encoder: Encoder;
  #batch = new Batch();
  readonly #parser: RamStreamParser;

  constructor(theirs?: MemoryVersion) {
    this.encoder = new Encoder(this.version, theirs?.index);
    this.#parser = new RamStreamParser({
      bytes: (...about) => this.#batch.bytes(...about),
      block: (...about) => this.#batch.block(...about),
      page: (...about) => this.#batch.page(...about),
      zero: (...about) => this.#batch.zero(...about),
      end: () => this.#batch.end(),
    });
  }

  chunk(chunk: Uint8Array): FramePlan {
    this.#batch = new Batch();
    this.#parser.push(chunk);
    return this.encoder.plan(this.#batch, hashesOf(this.#batch));
  }

  rest(): FramePlan {
    this.#batch = new Batch();
    this.#parser.end();
    return this.encoder.plan(this.#batch, new Uint8Array());
  }
}

/** The other end: its own version of the memory, from the frames alone. */
class Receiver {
  readonly version = new MemoryVersion('web1', 1);
  readonly decoder: Decoder;
  readonly output: Buffer[] = [];
  ended: boolean | undefined;

  constructor(known?: KnownPages) {
    this.decoder = new Decoder(known);
  }

  frame(payload: Uint8Array): boolean {
    const expanded = this.decoder.expand(payload);
    if (expanded === 'missing') return false;
    const { output, parts } = expanded;
    for (const part of parts) {
      if (part.kind === 'bytes') {
        if (this.ended === undefined) this.version.bytes(output.subarray(part.from, part.to));
      } else if (part.kind === 'block') this.version.block(part.block);
      else if (part.kind === 'zeros') this.version.zeros(part.block, part.page, part.count);
      else if (part.kind === 'page') {
        const hash = part.hash ?? hashPage(output.subarray(part.at, part.at + PAGE_BYTES));
        this.version.page(part.block, part.page, hash, 0);
      } else this.ended = this.version.digest().equals(part.digest);
    }
    this.output.push(Buffer.from(output));
    return true;
  }
}

interface Written {
  page: number;
  seed: number;
}

/** A stream in which pages get contents, one after another; seed 0 is a zero page. */
function streamOf(rounds: readonly (readonly Written[])[]): Uint8Array {
  const writer = new StreamWriter()
    .header()
    .configuration('pc')
    .setup([
      ['pc.ram', PAGES * PAGE_BYTES],
      ['pc.bios', 16 * PAGE_BYTES],
    ]);
  for (const [n, round] of rounds.entries()) {
    writer[n === rounds.length - 1 ? 'end' : 'part']((ram) => {
      let name = 'pc.ram';
      for (const { page: number, seed } of round) {
        if (seed === 0) ram.zero(name, number);
        else ram.page(name, number, page(seed));
        name = '';
      }
      return ram;
    });
  }
  return writer.raw([4, 1, 2, 3]).whole();
}

/** Sends a stream through both. @returns bytes of the frames */
function send(
  stream: Uint8Array,
  sizes: readonly number[],
  theirs?: { version: MemoryVersion; known: KnownPages },
): { sender: Sender; receiver: Receiver; wire: number; again: number } {
  const sender = new Sender(theirs?.version);
  const receiver = new Receiver(theirs?.known);
  let [wire, again] = [0, 0];
  const pass = (plan: FramePlan) => {
    const payload = printFrame(plan);
    wire += payload.length;
    if (receiver.frame(payload)) return;
    again += 1;
    assert.ok(receiver.frame(printFrame(plan, true)), 'with its content every frame can be read');
  };
  for (let at = 0, n = 0; at < stream.length; n++) {
    const size = sizes[n % sizes.length] ?? 1;
    pass(sender.chunk(stream.subarray(at, at + size)));
    at += size;
  }
  pass(sender.rest());
  assert.ok(Buffer.concat(receiver.output).equals(stream), 'the stream is what it was');
  assert.equal(receiver.ended, true, 'both ends have the same version');
  return { sender, receiver, wire, again };
}

/** A store that holds what a stream brought. */
function storeOf(rounds: readonly (readonly Written[])[]): Map<number, number> {
  return new Map(rounds.flat().map(({ page: number, seed }) => [number, seed]));
}

function known(store: ReadonlyMap<number, number>): KnownPages {
  return {
    read(block, number, into, to) {
      const seed = block === 0 ? store.get(number) : undefined;
      if (seed === undefined || seed === 0) return undefined;
      into.set(page(seed), to);
      return hashPage(page(seed));
    },
  };
}

const rounds = fc.array(
  fc.array(fc.record({ page: fc.nat(60), seed: fc.nat(12) }), { minLength: 1, maxLength: 40 }),
  { minLength: 1, maxLength: 4 },
);
const sizes = fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 6 });

describe('frames of memory', () => {
  it('give the stream again, in chunks of any size', () => {
    fc.assert(
      fc.property(rounds, sizes, (each, chunks) => void send(streamOf(each), chunks)),
      { numRuns: 20 },
    );
  });

  it('name what the other end has, and send it when it is damaged there', () => {
    fc.assert(
      fc.property(rounds, rounds, sizes, fc.nat(60), (before, now, chunks, bad) => {
        const { receiver } = send(streamOf(before), [200_000]);
        const store = storeOf(before);
        const version = receiver.version;
        const whole = send(streamOf(now), chunks, { version, known: known(store) });
        assert.equal(whole.again, 0);
        store.delete(bad);
        send(streamOf(now), chunks, { version, known: known(store) });
      }),
      { numRuns: 20 },
    );
  });

  it('cost next to nothing for runs of zeroes and of pages that the other end has', () => {
    const all = Array.from({ length: 2000 }, (_, n) => ({ page: n, seed: n + 1 }));
    const zeros = Array.from({ length: 3000 }, (_, n) => ({ page: 2000 + n, seed: 0 }));
    const stream = streamOf([[...all, ...zeros]]);
    const cold = send(stream, [262_144]);
    assert.ok(cold.wire < 2000 * PAGE_BYTES + 4000, `${cold.wire} bytes cold`);
    const store = { version: cold.receiver.version, known: known(storeOf([all])) };
    const warm = send(stream, [262_144], store);
    assert.ok(
      warm.wire < 12 * PAGE_BYTES,
      `${warm.wire} bytes warm: the pages between two chunks, and headers`,
    );
    assert.deepEqual([warm.sender.encoder.counts.same, warm.sender.encoder.counts.sent], [2000, 0]);
  });

  it('send a page once that comes twice, as long as it is remembered', () => {
    const twice = [
      { page: 1, seed: 5 },
      { page: 9, seed: 5 },
      { page: 2, seed: 6 },
      { page: 30, seed: 5 },
    ];
    assert.deepEqual(send(streamOf([twice]), [262_144]).sender.encoder.counts, {
      zeros: 0,
      sent: 2,
      same: 0,
      recent: 2,
    });
    const many = Array.from({ length: RECENT_PAGES }, (_, n) => ({ page: n, seed: n + 100 }));
    const { counts } = send(streamOf([[...twice, ...many, { page: 4500, seed: 5 }]]), [262_144]).sender
      .encoder;
    assert.equal(counts.sent, 3 + RECENT_PAGES);
  });

  it('end differently when a page differs', () => {
    const [sender, receiver] = [new Sender(), new Receiver()];
    const frame = printFrame(sender.chunk(streamOf([[{ page: 1, seed: 5 }]])));
    const inPage = frame.length - 200;
    frame[inPage] = (frame[inPage] ?? 0) ^ 1;
    receiver.frame(frame);
    assert.equal(receiver.ended, false);
  });

  it('are refused when they make no sense, and cost neither time nor memory then', () => {
    const head = printFrame(new Sender().chunk(streamOf([[{ page: 1, seed: 5 }]])));
    const bad: readonly (readonly number[])[] = [
      [99],
      [OP.bytes, 5, 1],
      [OP.bytes, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
      [OP.seek, 7, 0, 1],
      [OP.seek, 0, 0, 2],
      [OP.zeros, 0xff, 0xff, 0xff, 0x7f],
      [OP.seek, 0, 0x87, 0x27, 1, OP.zeros, 2],
      [OP.pages, 1, 3],
      [OP.recent, 9, 1],
      [OP.recent, 0, 0xff, 0x1f],
      [OP.block, 1, 65, 9],
      [OP.end, 1],
    ];
    for (const ops of bad) {
      const decoder = new Decoder();
      decoder.expand(head);
      assert.throws(() => decoder.expand(Uint8Array.from(ops)), { code: 'TRANSFER_PROTOCOL' }, `[${ops}]`);
    }
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      fc
        .array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.nat(255)), { maxLength: 60 })
        .map((all) => Uint8Array.from(all)),
    );
    fc.assert(
      fc.property(noise, (payload) => {
        const decoder = new Decoder(known(new Map([[1, 5]])));
        decoder.expand(head);
        try {
          const out = decoder.expand(payload);
          assert.ok(out === 'missing' || out.output.length <= 2 ** 20);
        } catch (error) {
          assert.equal(Reflect.get(Object(error), 'code'), 'TRANSFER_PROTOCOL');
        }
      }),
      { numRuns: 1500 },
    );
  });
});
