import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FLAG, MAX_BLOCKS, PAGE_BYTES } from './format.ts';
import { RamStreamParser } from './parser.ts';
import { Recorder } from './recorder.test-data.ts';
import { StreamWriter } from './writer.test-data.ts';

/** Reads a stream in chunks of the given sizes, again and again. */
function read(stream: Uint8Array, sizes: readonly number[] = [stream.length]): Recorder {
  const recorder = new Recorder();
  const parser = new RamStreamParser(recorder);
  recorder.parser = parser;
  for (let at = 0, n = 0; at < stream.length; n++) {
    const size = Math.max(1, sizes[n % sizes.length] ?? 1);
    parser.push(stream.subarray(at, at + size));
    at += size;
  }
  parser.end();
  return recorder;
}

const page = (fill: number) => new Uint8Array(PAGE_BYTES).map((_, n) => (fill * 31 + n * 7) & 0xff);

/** A whole stream of pre-copy: two blocks, three sections, a device's state. */
function precopy(): StreamWriter {
  return new StreamWriter()
    .header()
    .configuration('pc-q35-7.2')
    .command(1)
    .command(2, [0, 0, 0, 1])
    .setup([
      ['pc.ram', 64 * PAGE_BYTES],
      ['pc.bios', 8 * PAGE_BYTES],
    ])
    .part((ram) =>
      ram.page('pc.ram', 0, page(1)).page('', 1, page(2)).zero('', 2).zero('', 3).page('', 9, page(3)),
    )
    .part((ram) => ram.zero('', 10).page('pc.bios', 0, page(4)).zero('', 7))
    .end((ram) => ram.page('pc.ram', 1, page(5)))
    .raw([0x04, 0, 0, 0, 9, 1, 2, 3, 0x7e]);
}

describe('the parser of the stream', () => {
  it('tells pages, zero pages and blocks, and names each byte once and in order', () => {
    const stream = precopy().whole();
    const { told, blocks, parser, restored } = read(stream);
    assert.deepEqual(told, [
      'page 0 0 named',
      'page 0 1 continued',
      'zero 0 2 continued',
      'zero 0 3 continued',
      'page 0 9 continued',
      'zero 0 10 continued',
      'page 1 0 named',
      'zero 1 7 continued',
      'page 0 1 named',
      'end',
    ]);
    assert.deepEqual(blocks, [
      { name: 'pc.ram', length: 64 * PAGE_BYTES },
      { name: 'pc.bios', length: 8 * PAGE_BYTES },
    ]);
    assert.deepEqual([parser.ended, parser.unknown], [true, undefined]);
    assert.deepEqual(restored(), stream);
  });

  it('follows a post-copy: packages, discards, pages after the switchover', () => {
    const stream = new StreamWriter()
      .header()
      .configuration('pc')
      .command(3, new Array(16).fill(0))
      .setup([['pc.ram', 64 * PAGE_BYTES]])
      .part((ram) => ram.page('pc.ram', 0, page(1)))
      .command(6, new Array(300).fill(0x20))
      .packaged([...Buffer.from('anything, also what looks like a section: '), 0x02, 0, 0, 0, 9])
      .part((ram) => ram.page('pc.ram', 5, page(2)))
      .end((ram) => ram.zero('', 6))
      .raw([0])
      .whole();
    const { told, parser, restored } = read(stream);
    assert.deepEqual(told, ['page 0 0 named', 'page 0 5 named', 'zero 0 6 continued', 'end']);
    assert.deepEqual([parser.ended, parser.unknown], [true, undefined]);
    assert.deepEqual(restored(), stream);
  });

  it('tells the same whatever the sizes of the chunks', () => {
    const stream = precopy().whole();
    const { told } = read(stream);
    for (const sizes of [[1], [7, 4096, 3], [4104], [5000, 1], [8191, 2]])
      assert.deepEqual(read(stream, sizes).told, told, `chunks of ${sizes}`);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 12 }), (sizes) => {
        const again = read(stream, sizes);
        assert.deepEqual(again.told, told);
        assert.deepEqual(again.restored(), stream);
      }),
      { numRuns: 60 },
    );
  });

  it('knows blocks and pages beyond 4 GiB', () => {
    const pages = 6 * 2 ** 20;
    const stream = new StreamWriter()
      .header()
      .setup([['pc.ram', pages * PAGE_BYTES]])
      .end((ram) => ram.page('pc.ram', pages - 1, page(1)).zero('', 2 ** 20))
      .whole();
    const { told, restored } = read(stream);
    assert.deepEqual(told, [`page 0 ${pages - 1} named`, `zero 0 ${2 ** 20} continued`, 'end']);
    assert.deepEqual(restored(), stream);
  });

  it('gives back a name of any bytes', () => {
    const name = Buffer.from(Array.from({ length: 255 }, (_, n) => n + 1)).toString('latin1');
    const stream = new StreamWriter()
      .header()
      .setup([[name, 8 * PAGE_BYTES]])
      .end((ram) => ram.page(name, 3, page(1)))
      .whole();
    const { told, restored } = read(stream);
    assert.deepEqual(told, ['page 0 3 named', 'end']);
    assert.deepEqual(restored(), stream);
  });

  const start = () => new StreamWriter().header().configuration('pc');
  const ram = () => start().setup([['pc.ram', 64 * PAGE_BYTES]]);
  const odd: readonly [string, StreamWriter, RegExp][] = [
    [
      'what is no stream of QEMU',
      new StreamWriter().raw([...Buffer.from('GET / HTTP/1.1\r\n')]),
      /does not begin/,
    ],
    ['xbzrle', ram().part((r) => r.word(0, FLAG.xbzrle | FLAG.continued).raw([1, 0, 2, 8, 8])), /xbzrle/],
    ['compressed pages', ram().part((r) => r.word(0, FLAG.compressed)), /compressed/],
    ['multifd', ram().part((r) => r.word(0, FLAG.multifdFlush)), /multifd/],
    ['RDMA', ram().part((r) => r.word(0, FLAG.hook)), /RDMA/],
    ['a page beyond its block', ram().part((r) => r.page('pc.ram', 64, page(1))), /outside/],
    ['a page of an unknown block', ram().part((r) => r.page('other', 0, page(1))), /outside/],
    ['a page without a block', ram().part((r) => r.page('', 0, page(1))), /outside/],
    ['a page of equal bytes', ram().part((r) => r.zero('pc.ram', 0, 7)), /equal bytes/],
    ['another live section', ram().sectionStart('dirty-bitmap', 1), /"dirty-bitmap" of version 1/],
    ['an early device', start().raw([4, 0, 0, 0, 1]), /device's state before/],
    ['shared memory that is left out', start().raw([5, 3]), /configuration of its own/],
    ['another version of ram', start().sectionStart('ram', 5), /"ram" of version 5/],
    [
      'blocks with page sizes',
      start().setup([['pc.ram', 8192]], [0, 0, 0, 0, 0, 0, 0x10, 0]),
      /list of blocks/,
    ],
    [
      'a block twice',
      start().setup([
        ['a', 8192],
        ['a', 8192],
      ]),
      /block of memory/,
    ],
    ['a section without a footer', ram().part((r) => r.zero('pc.ram', 0), [1]), /footer/],
    ['a part of nothing', ram().raw([2, 0, 0, 0, 77]), /unknown section 77/],
    ['an unknown section', ram().raw([0x55]), /type of section 85/],
    ['an end within a record', ram().raw([2, 0]), /ended within/],
  ];
  for (const [name, writer, why] of odd) {
    it(`passes on as it is: ${name}`, () => {
      const stream = writer.raw(name === 'an end within a record' ? [] : [1, 2, 3, 4, 5, 6, 7, 8]).whole();
      for (const sizes of [[stream.length], [1], [3, 50]]) {
        const { parser, restored } = read(stream, sizes);
        assert.match(parser.unknown ?? '', why);
        assert.equal(parser.ended, false);
        assert.deepEqual(restored(), stream);
      }
    });
  }

  it('does not remember blocks without end', () => {
    const many = Array.from({ length: MAX_BLOCKS + 1 }, (_, n): [string, number] => [`b${n}`, PAGE_BYTES]);
    const { parser, restored } = read(start().setup(many).whole());
    assert.match(parser.unknown ?? '', /block of memory/);
    assert.deepEqual(restored(), start().setup(many).whole());
  });

  it('says any bytes again, whatever they are', () => {
    const real = precopy().whole();
    const change = fc.array(fc.tuple(fc.nat(real.length - 1), fc.integer({ min: 0, max: 255 })), {
      maxLength: 6,
    });
    const sizes = fc.array(fc.integer({ min: 1, max: 6000 }), { minLength: 1, maxLength: 5 });
    const cut = fc.integer({ min: 0, max: real.length });
    fc.assert(
      fc.property(change, sizes, cut, cut, (changes, chunks, from, to) => {
        const stream = Uint8Array.from(real);
        for (const [at, value] of changes) stream[at] = value;
        // bytes left out, bytes twice
        const spliced = Buffer.concat([stream.subarray(0, to), stream.subarray(from)]);
        assert.ok(Buffer.from(read(spliced, chunks).restored()).equals(spliced));
      }),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), sizes, (noise, chunks) => {
        const head = start()
          .setup([['pc.ram', 64 * PAGE_BYTES]])
          .raw([2, 0, 0, 0, 2])
          .whole();
        const stream = Buffer.concat([head, noise]);
        assert.ok(Buffer.from(read(stream, chunks).restored()).equals(stream));
      }),
      { numRuns: 300 },
    );
  });
});
