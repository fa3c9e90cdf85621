import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { PageStores } from '../pages/stores.ts';
import { PAGE_BYTES } from '../stream/format.ts';
import { PAGES, type Passed, type PassOptions, pass, streamOf } from './relay.test-data.ts';
import type { DestinationReport, SourceReport } from './report.ts';

const made: string[] = [];
after(() => {
  for (const each of made) rmSync(each, { recursive: true, force: true });
});

function stores(): PageStores {
  const root = mkdtempSync(join(tmpdir(), 'shadowferry-pages-'));
  made.push(root);
  return new PageStores(root, 2 ** 30);
}

/** A guest: 40 % of it zero, the rest pages of their own. */
const MEMORY = Array.from({ length: PAGES }, (_, n) => (n % 5 < 2 ? 0 : n + 1));

/** The stream came out as it went in, and both relays are content. */
function whole({ output, source, destination, replies }: Passed, { stream }: PassOptions) {
  if (source.status === 'rejected') throw source.reason;
  if (destination.status === 'rejected') throw destination.reason;
  assert.ok(output.equals(stream), `${output.length} bytes came of ${stream.length}`);
  assert.equal(replies, 'ready;done');
  assert.equal(source.value.version, destination.value.version);
  return { from: source.value, to: destination.value };
}

async function through(options: PassOptions): Promise<{ from: SourceReport; to: DestinationReport }> {
  return whole(await pass(options), options);
}

/** A VM goes from a to b; then each knows of it what it should. */
async function warmedUp() {
  const [a, b] = [stores(), stores()];
  await through({ stream: streamOf(MEMORY), source: a, destination: b, epoch: 1 });
  return { a, b };
}

function changed(memory: readonly number[], pages: number): number[] {
  return memory.map((seed, n) => (n % Math.floor(PAGES / pages) === 3 ? seed + 50_000 : seed));
}

function flip(file: string, at: number): void {
  const byte = (readFileSync(file)[at] ?? 0) ^ 1;
  const fd = openSync(file, 'r+');
  writeSync(fd, Uint8Array.of(byte), 0, 1, at);
  closeSync(fd);
}

describe('a versioned transfer', () => {
  it('brings the stream unchanged, and what QEMU answers back', async () => {
    const stream = streamOf(MEMORY, [
      [3, 77],
      [4, 0],
      [9, 77],
    ]);
    const { from } = await through({ stream });
    assert.equal(from.streamBytes, stream.length);
    assert.deepEqual(from.pages, { zeros: 201, sent: 301, same: 0, recent: 1 });
    assert.match(from.base.why, /the other host keeps no pages/);
    await through({ stream, threads: 2, connections: 3, zstd: true });
  });

  it('sends only what differs when the VM comes back', async () => {
    const { a, b } = await warmedUp();
    assert.deepEqual([a.list().length, b.list().length], [1, 1]);
    const back = await through({
      stream: streamOf(changed(MEMORY, 20)),
      source: b,
      destination: a,
      epoch: 2,
    });
    assert.deepEqual(
      [back.from.base.known, back.from.kept.done, back.to.remembered.done],
      [true, true, true],
    );
    assert.equal(back.from.pages.same, 300 - 20);
    assert.ok(back.from.wireBytes < 20_000 + 60 * PAGE_BYTES, `${back.from.wireBytes} bytes`);
    // and there again: now b holds what it sent
    const again = await through({
      stream: streamOf(changed(MEMORY, 20)),
      source: a,
      destination: b,
      epoch: 3,
    });
    assert.equal(again.from.pages.sent, 0);
  });

  it('compresses when asked to', async () => {
    const [plain, packed] = [
      await through({ stream: streamOf(MEMORY) }),
      await through({ stream: streamOf(MEMORY), zstd: true }),
    ];
    assert.ok(packed.from.wireBytes < plain.from.wireBytes / 10);
  });

  it('never uses a page of the store of which a bit has changed, and drops the store', async () => {
    const { a, b } = await warmedUp();
    for (const page of [2, 3, 307, 498]) flip(a.files('web1', 'left').pages, page * PAGE_BYTES + 17);
    const { from, to } = await through({ stream: streamOf(MEMORY), source: b, destination: a, epoch: 2 });
    assert.ok(from.base.known && from.sentAgain >= 1 && to.damaged >= 1, JSON.stringify([from, to]));
    assert.deepEqual(a.record('web1', 'left'), undefined);
  });

  it('stops naming pages of a store that is damaged everywhere', async () => {
    const { a, b } = await warmedUp();
    const { pages } = a.files('web1', 'left');
    writeFileSync(pages, Buffer.alloc(readFileSync(pages).length, 0xee));
    await through({ stream: streamOf(MEMORY), source: b, destination: a, epoch: 2 });
  });

  it('uses no store of another epoch, another VM, or with another index', async () => {
    const poison: readonly [string, (a: PageStores, b: PageStores) => void, RegExp][] = [
      ['epoch', (a) => rewrite(a, { epoch: 7 }), /another version/],
      ['version', (a) => rewrite(a, { version: '0'.repeat(64) }), /another version/],
      ['VM', (a) => rewrite(a, { vm: 'web2' }), /keeps no pages of the VM/],
      ['index', (a) => flip(a.files('web1', 'left').index, 900), /damaged/],
      ['memory of it', (_, b) => flip(b.files('web1', 'arrived').index, 900), /damaged/],
      ['nothing remembered', (_, b) => void b.drop('web1'), /does not remember/],
    ];
    for (const [name, act, why] of poison) {
      const { a, b } = await warmedUp();
      act(a, b);
      const { from, to } = await through({ stream: streamOf(MEMORY), source: b, destination: a, epoch: 2 });
      assert.equal(from.base.known, false, name);
      assert.match(from.base.why, why, name);
      assert.deepEqual([from.pages.same, to.damaged], [0, 0], name);
    }
  });

  it('goes on after the line broke, wherever it did', async () => {
    const stream = streamOf(MEMORY);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: stream.length - 1 }),
        fc.integer({ min: 1, max: 2 }),
        async (bytes, connections) => {
          const { from } = await through({ stream, connections, at: { bytes, act: (line) => line.cut() } });
          assert.ok(from.reconnects >= 0);
        },
      ),
      { numRuns: 3 },
    );
  });

  it('breaks off at both ends when the line is gone for good, and keeps nothing', async () => {
    const [a, b] = [stores(), stores()];
    const { source, destination, output } = await pass({
      stream: streamOf(MEMORY),
      ...{ source: a, destination: b, deadlineMs: 500 },
      at: {
        bytes: 600_000,
        act: (line) => {
          line.close();
          line.cut();
        },
      },
    });
    for (const each of [source, destination])
      assert.match(
        each.status === 'rejected' ? String(each.reason) : 'it went well',
        /away for more than 500 ms/,
      );
    assert.ok(output.length < streamOf(MEMORY).length);
    assert.deepEqual([a.list(), b.list(), a.tidy(), b.tidy()], [[], [], [], []]);
  });

  it("breaks off when the destination's QEMU does", async () => {
    const { source, destination } = await pass({ stream: streamOf(MEMORY), breakAfter: 500_000 });
    for (const each of [source, destination])
      assert.match(
        each.status === 'rejected' ? String(each.reason) : 'it went well',
        /destination's QEMU broke off/,
      );
  });

  it('passes on what it does not understand, and keeps nothing of it', async () => {
    const [a, b] = [stores(), stores()];
    const stream = Buffer.concat([streamOf(MEMORY).subarray(0, 1_000_000), Buffer.alloc(500_000, 0x5a)]);
    const { from, to } = await through({ stream, source: a, destination: b });
    assert.match(from.unknown ?? '', /memory as xbzrle/);
    assert.deepEqual([from.version, from.kept.done, to.remembered.done], [undefined, false, false]);
    assert.deepEqual([a.list(), b.list()], [[], []]);
  });
});

/** A record that says something else than what is there. */
function rewrite(kept: PageStores, more: Record<string, unknown>): void {
  const { record } = kept.files('web1', 'left');
  writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record, 'utf8')), ...more }));
}
