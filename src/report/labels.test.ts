import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Flag, placeFlags, placeInRow } from './labels.ts';

const BOUNDS = { left: 0, right: 1000 };

/** What a reader would call a collision: texts over each other, or a line through a text. */
function collisions(flags: readonly Flag[], placed: readonly { left: number; row: number }[]): string[] {
  const found: string[] = [];
  flags.forEach((flag, i) => {
    const text = placed[i];
    if (!text) return;
    const right = text.left + flag.width;
    flags.forEach((other, j) => {
      const otherText = placed[j];
      if (i === j || !otherText) return;
      const sameRow = otherText.row === text.row;
      if (sameRow && text.left < otherText.left + other.width && otherText.left < right) {
        found.push(`texts ${i} and ${j}`);
      }
      const lineReaches = otherText.row >= text.row;
      if (lineReaches && other.x > text.left && other.x < right) found.push(`line ${j} through text ${i}`);
    });
  });
  return found;
}

test('a lone flag stands in the lowest row, to the right of its line', () => {
  assert.deepEqual(placeFlags([{ x: 100, width: 50 }], BOUNDS, 3), [{ left: 104, row: 0 }]);
});

test('a flag at the right edge has its text to the left', () => {
  const [placed] = placeFlags([{ x: 990, width: 50 }], BOUNDS, 3) ?? [];
  assert.equal(placed?.left, 990 - 4 - 50);
});

test('no flags need no rows', () => {
  assert.deepEqual(placeFlags([], BOUNDS, 3), []);
});

test('a crowd becomes two stairs, half as high as one', () => {
  const crowd = [500, 505, 510, 515, 520, 525].map((x) => ({ x, width: 80 }));
  const placed = placeFlags(crowd, BOUNDS, 10) ?? [];
  assert.equal(Math.max(...placed.map(({ row }) => row)), 2);
  assert.deepEqual(collisions(crowd, placed), []);
});

test('flags at the very same place get rows of their own', () => {
  const same = [300, 300, 300].map((x) => ({ x, width: 60 }));
  const placed = placeFlags(same, BOUNDS, 5) ?? [];
  assert.equal(placed.length, 3);
  assert.deepEqual(collisions(same, placed), []);
});

test('what does not fit is refused, not squeezed', () => {
  const many = Array.from({ length: 20 }, (_, i) => ({ x: 500 + i, width: 200 }));
  assert.equal(placeFlags(many, BOUNDS, 5), undefined);
  assert.equal(placeFlags([{ x: 30, width: 200 }], { left: 0, right: 100 }, 5), undefined);
});

const someFlags = fc
  .array(fc.record({ x: fc.integer({ min: 0, max: 1000 }), width: fc.integer({ min: 5, max: 150 }) }), {
    maxLength: 14,
  })
  .map((flags) => flags.toSorted((a, b) => a.x - b.x));

test('placed flags never collide and stay inside', () => {
  let placedSome = 0;
  fc.assert(
    fc.property(someFlags, (flags) => {
      const placed = placeFlags(flags, BOUNDS, 30);
      if (!placed) return;
      placedSome += 1;
      assert.deepEqual(collisions(flags, placed), []);
      flags.forEach((flag, i) => {
        const left = placed[i]?.left ?? Number.NaN;
        assert.ok(left >= BOUNDS.left && left + flag.width <= BOUNDS.right, `flag ${i} at ${left}`);
      });
    }),
    { numRuns: 500 },
  );
  assert.ok(placedSome > 400, `only ${placedSome} of 500 could be placed`);
});

test('a row keeps order, gaps and bounds, and moves nothing that has room', () => {
  fc.assert(
    fc.property(someFlags, (flags) => {
      const total = flags.reduce((sum, flag) => sum + flag.width + 6, -6);
      const lefts = placeInRow(flags, BOUNDS, 6);
      if (total > 1000) return assert.equal(lefts, undefined);
      assert.ok(lefts);
      assert.equal(lefts.length, flags.length);
      lefts.forEach((left, i) => {
        const end = left + (flags[i]?.width ?? 0);
        assert.ok(left >= -1e-6 && end <= 1000 + 1e-6, `${left} to ${end}`);
        const next = lefts[i + 1];
        if (next !== undefined) assert.ok(next - end >= 6 - 1e-6);
      });
    }),
  );
  assert.deepEqual(
    placeInRow(
      [
        { x: 100, width: 40 },
        { x: 400, width: 40 },
      ],
      BOUNDS,
      6,
    ),
    [80, 380],
  );
});
