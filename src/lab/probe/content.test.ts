import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  BulkContent,
  decodeRecord,
  encodeRecord,
  PATTERN_BYTES,
  parseDigestAnswer,
  patternBlock,
  RECORD_BYTES,
  wrongPatternBytes,
} from './content.ts';

const sequence = fc.integer({ min: 0, max: 0xffff_ffff });

test('a record is read back as it was made', () => {
  fc.assert(
    fc.property(sequence, fc.double({ noNaN: true, min: 0, max: 1e15 }), (number, sentMs) => {
      assert.deepEqual(decodeRecord(encodeRecord(number, sentMs)), { sequence: number, sentMs });
    }),
  );
});

test('a change of any bit outside the send time is noticed', () => {
  const place = fc
    .integer({ min: 0, max: RECORD_BYTES * 8 - 1 })
    .filter((bit) => bit < 8 * 8 || bit >= 16 * 8);
  fc.assert(
    fc.property(sequence, place, (number, bit) => {
      const record = encodeRecord(number, 0);
      record.writeUInt8(record.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      assert.equal(decodeRecord(record), undefined);
    }),
  );
});

test('exactly the wrong bytes of the source stream are counted, wherever the pieces are cut', () => {
  const block = patternBlock();
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 3 * PATTERN_BYTES }),
      fc.integer({ min: 1, max: 2 * PATTERN_BYTES }),
      fc.uniqueArray(fc.nat(), { maxLength: 5 }),
      (position, length, places) => {
        const piece = Buffer.alloc(length);
        for (let at = 0; at < length; at++) piece[at] = block[(position + at) % PATTERN_BYTES] ?? 0;
        assert.equal(wrongPatternBytes(block, piece, position), 0);
        const wrong = new Set(places.map((place) => place % length));
        for (const at of wrong) piece.writeUInt8(piece.readUInt8(at) ^ 0x40, at);
        assert.equal(wrongPatternBytes(block, piece, position), wrong.size);
      },
    ),
    { numRuns: 30 },
  );
});

test('the pattern is the one that the guest is specified to send', () => {
  const block = patternBlock();
  assert.deepEqual([...block.subarray(0, 4)], [0, 7, 14, 21]);
  assert.equal(block[256], 13);
  assert.equal(block[65_535], (65_535 * 7 + 255 * 13) & 255);
});

test('pieces of the bulk content differ at every position', () => {
  const content = new BulkContent(1);
  const seen = new Set<string>();
  for (let piece = 0; piece < 1000; piece++) seen.add(content.next(4096).toString('latin1'));
  assert.equal(seen.size, 1000);
  const largest = content.next(512 * 1024);
  assert.equal(largest.length, 512 * 1024);
});

test("the digest service's answer is a hash and a count, or it is no answer", () => {
  const hash = 'AB'.repeat(32);
  assert.deepEqual(parseDigestAnswer(`${hash} 123\n`), { sha256: hash.toLowerCase(), bytes: 123 });
  assert.equal(parseDigestAnswer(''), undefined);
  assert.equal(parseDigestAnswer(hash), undefined);
  assert.equal(parseDigestAnswer(`${hash.slice(1)} 12`), undefined);
});
