import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBytes } from './parse-bytes.ts';

test('sizes are read with and without units, and nothing else is', () => {
  const read = parseBytes('--size');
  const sizes = {
    '4096': 4096,
    '0': 0,
    '512K': 524288,
    '1.5G': 1610612736,
    '10GiB': 10737418240,
    '2MB': 2097152,
  };
  for (const [text, bytes] of Object.entries(sizes)) assert.equal(read(text), bytes, text);
  for (const text of ['', 'G', '-1', '1,5G', '1.3', '1 G', '1X', 'NaN', '99999999P', '0x10', '1e9'])
    assert.throws(() => read(text), { code: 'INPUT_FIELD' }, text);
});
