import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { PAGE_BYTES } from '../stream/format.ts';
import { keepArrived, readArrived } from './arrived.ts';
import { hashPage } from './page-hash.ts';
import { PageIndex } from './page-index.ts';
import { StoreReader } from './store-reader.ts';
import { StoreWriter } from './store-writer.ts';
import { PageStores } from './stores.ts';

const BLOCKS = [
  { name: 'pc.ram', length: 1100 * PAGE_BYTES },
  { name: 'pc.bios', length: 4 * PAGE_BYTES },
];
const VERSION = 'ab'.repeat(32);
const page = (seed: number) =>
  new Uint8Array(PAGE_BYTES).map((_, n) => (seed * 131 + n * 17 + (n >> 8)) & 0xff);

const made: string[] = [];
after(() => {
  for (const each of made) rmSync(each, { recursive: true, force: true });
});

function stores(capBytes = 2 ** 30): PageStores {
  const root = mkdtempSync(join(tmpdir(), 'shadowferry-pages-'));
  made.push(root);
  return new PageStores(root, capBytes);
}

/** A VM leaves: page `n` of the first block has the content `seeds[n]`, all others are zero. */
function leave(into: PageStores, vm: string, seeds: readonly number[], epoch = 1): StoreWriter {
  const writer = new StoreWriter(into, vm, BLOCKS);
  const index = new PageIndex(BLOCKS);
  for (const [block, { length }] of BLOCKS.entries())
    for (let n = 0; n < length / PAGE_BYTES; n++) index.setZero(block, n);
  for (const [n, seed] of seeds.entries()) {
    const content = page(seed);
    const hash = hashPage(content);
    index.set(0, n, hash, 0);
    writer.write(0, n, hash, 0, content, 0);
  }
  writer.finish(index, { epoch, version: VERSION });
  return writer;
}

function change(file: string, at: number, bytes: Uint8Array): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

describe('page stores', () => {
  it('give back what was written, and nothing else', () => {
    const kept = stores();
    assert.equal(leave(kept, 'web1', [5, 6, 7]).dropped, undefined);
    const reader = new StoreReader(kept, 'web1');
    const into = new Uint8Array(2 * PAGE_BYTES);
    assert.ok(reader.read(0, 1, into, PAGE_BYTES));
    assert.deepEqual(into.subarray(PAGE_BYTES), page(6));
    assert.equal(reader.read(0, 900, into, 0), undefined, 'a zero page is in no store');
    assert.deepEqual(reader.label, { vm: 'web1', epoch: 1, version: VERSION });
    reader.close();
  });

  it('write only what changed when the VM leaves again', () => {
    const kept = stores();
    leave(kept, 'web1', [5, 6, 7]);
    const { pages } = kept.files('web1', 'left');
    // what is not written again keeps this mark
    change(pages, 0, Uint8Array.of(255, 255));
    leave(kept, 'web1', [5, 60, 7], 3);
    const content = readFileSync(pages);
    assert.deepEqual([...content.subarray(0, 2)], [255, 255]);
    assert.deepEqual(new Uint8Array(content.subarray(PAGE_BYTES, 2 * PAGE_BYTES)), page(60));
    assert.equal(kept.record('web1', 'left')?.epoch, 3);
  });

  it('never give a page of which a bit has changed', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 3 * PAGE_BYTES - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (at, flip) => {
          const kept = stores();
          leave(kept, 'web1', [5, 6, 7]);
          const { pages } = kept.files('web1', 'left');
          change(pages, at, Uint8Array.of((readFileSync(pages)[at] ?? 0) ^ flip));
          const reader = new StoreReader(kept, 'web1');
          const into = new Uint8Array(PAGE_BYTES);
          const bad = Math.floor(at / PAGE_BYTES);
          for (let n = 0; n < 3; n++)
            assert.equal(reader.read(0, n, into, 0) === undefined, n === bad, `page ${n}`);
          assert.equal(reader.damaged, 1);
          reader.close();
        },
      ),
      { numRuns: 12 },
    );
  });

  it('are not opened with an index of which a bit has changed, or an end is missing', () => {
    const kept = stores();
    leave(kept, 'web1', [5, 6, 7]);
    const { index } = kept.files('web1', 'left');
    const whole = readFileSync(index);
    for (const at of [0, 3, whole.length - 1]) {
      change(index, at, Uint8Array.of((whole[at] ?? 0) ^ 0x40));
      assert.throws(() => new StoreReader(kept, 'web1'), { code: 'PAGES_DAMAGED' });
      writeFileSync(index, whole);
    }
    writeFileSync(index, whole.subarray(0, -1));
    assert.throws(() => new StoreReader(kept, 'web1'), { code: 'PAGES_DAMAGED' });
    writeFileSync(index, whole);
    new StoreReader(kept, 'web1').close();
  });

  it("are not opened as another VM's, nor before they are whole", () => {
    const kept = stores();
    leave(kept, 'web1', [5]);
    const [mine, others] = [kept.files('web1', 'left'), kept.files('web2', 'left')];
    mkdirSync(others.directory);
    for (const name of readdirSync(mine.directory))
      writeFileSync(join(others.directory, name), readFileSync(join(mine.directory, name)));
    assert.throws(() => new StoreReader(kept, 'web2'), { code: 'MISSING_PAGES' });
    new StoreWriter(kept, 'web1', BLOCKS);
    assert.throws(() => new StoreReader(kept, 'web1'), { code: 'MISSING_PAGES' });
    assert.deepEqual(kept.tidy().toSorted(), ['web1.left', 'web2.left']);
    assert.equal(existsSync(mine.directory), false);
  });

  it('stay within their limit, and the least recently used go first', () => {
    const seeds = Array.from({ length: 600 }, (_, n) => n);
    const kept = stores(12 * 2 ** 20);
    leave(kept, 'one', seeds);
    leave(kept, 'two', seeds);
    leave(kept, 'three', seeds.slice(0, 10));
    assert.deepEqual(
      kept.list().map(({ record }) => record.vm),
      ['one', 'two', 'three'],
    );
    new StoreReader(kept, 'one').close();
    leave(kept, 'four', [...seeds, ...seeds.slice(0, 450).map((n) => n + 5000)]);
    const left = kept.list();
    assert.deepEqual(
      left.map(({ record }) => record.vm),
      ['three', 'one', 'four'],
    );
    assert.ok(left.reduce((sum, { record }) => sum + record.bytes, 0) <= kept.capBytes);
  });

  it('keep nothing of a VM that is larger than all that they may take, and say so', () => {
    const kept = stores(2 ** 20);
    const writer = leave(kept, 'web1', [1, 2]);
    assert.match(writer.dropped ?? '', /more than 1048576 bytes/);
    assert.deepEqual(kept.list(), []);
    assert.equal(existsSync(kept.files('web1', 'left').directory), false);
  });

  it('are dropped when somebody asks', () => {
    const kept = stores();
    leave(kept, 'web1', [1]);
    assert.equal(kept.drop('web1'), true);
    assert.equal(kept.drop('web1'), false);
    assert.deepEqual(kept.list(), []);
    assert.throws(() => kept.drop('../web1'), { code: 'INTERNAL' });
  });

  it('remember what another host has kept', () => {
    const kept = stores();
    const index = new PageIndex(BLOCKS);
    index.set(0, 700, hashPage(page(3)), 0);
    index.setZero(1, 2);
    const label = { vm: 'web1', epoch: 4, version: VERSION };
    assert.equal(readArrived(kept, 'web1'), undefined);
    assert.equal(keepArrived(kept, label, index), true);
    const again = readArrived(kept, 'web1');
    assert.deepEqual(again?.label, label);
    assert.ok(again?.index.is(0, 700, hashPage(page(3)), 0));
    assert.deepEqual([again?.index.isZero(1, 2), again?.index.unknown], [true, 1104 - 2]);
    change(kept.files('web1', 'arrived').index, 9, Uint8Array.of(1));
    assert.throws(() => readArrived(kept, 'web1'), { code: 'PAGES_DAMAGED' });
  });
});
