import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { delayQueueBytes, emulator, rootQdisc, tokenBucket } from './shaping.ts';

function setting(words: readonly string[], name: string): number {
  const at = words.indexOf(name);
  assert.ok(at >= 0, `${name} in ${words.join(' ')}`);
  return Number.parseFloat(words[at + 1] ?? '');
}

test('a token bucket always lets a full frame pass and queues 50 ms beyond its burst', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.1, max: 100_000, noNaN: true }), (rateMbit) => {
      const words = tokenBucket(rateMbit);
      const burst = setting(words, 'burst');
      assert.ok(burst >= 10 * 1514);
      assert.ok(setting(words, 'limit') - burst >= Math.floor((rateMbit * 1e6 * 50) / 8000));
    }),
  );
});

test('the emulator holds what is on the way, in packets', () => {
  const words = emulator({ rateMbit: 1000, delayMs: 100 });
  assert.ok(setting(words, 'limit') * 500 >= (1e9 / 8) * 0.1);
  assert.equal(setting(words, 'delay'), 100);
  assert.equal(setting(words, 'rate'), 1000);
  assert.ok(!emulator({ delayMs: 1 }).includes('rate'));
});

test('the delay line may hold twice what is on the way, and its memory has a limit', () => {
  assert.equal(delayQueueBytes({ rateMbit: 1000, delayMs: 100 }), 25_000_000);
  assert.equal(delayQueueBytes({ delayMs: 1000 }), 64 << 20);
  assert.equal(delayQueueBytes({ rateMbit: 1, delayMs: 1 }), 1 << 20);
});

test('an end of a link has the qdisc that its shape needs and the machine has', () => {
  const kind = (...args: Parameters<typeof rootQdisc>) => rootQdisc(...args)?.[0];
  assert.equal(kind({}, 'netem'), undefined);
  assert.equal(kind({ rateMbit: 0, delayMs: 0 }, 'netem'), undefined);
  assert.equal(kind({ rateMbit: 10 }, 'netem'), 'tbf');
  assert.equal(kind({ delayMs: 10 }, 'netem'), 'netem');
  assert.equal(kind({ rateMbit: 10, delayMs: 10 }, 'netem'), 'netem');
  assert.equal(kind({ delayMs: 10 }, 'delay-line'), undefined);
  assert.equal(kind({ rateMbit: 10, delayMs: 10 }, 'delay-line'), 'tbf');
});
