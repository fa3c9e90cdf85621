import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sharedRead } from './shared-read.ts';

const turn = () => new Promise(setImmediate);

test('who asks alone is served at once; who asks while a read is under way shares the next one', async () => {
  const reads: PromiseWithResolvers<number>[] = [];
  const ask = sharedRead(() => {
    const read = Promise.withResolvers<number>();
    reads.push(read);
    return read.promise;
  }, 0);
  const first = ask();
  await turn();
  const [second, third] = [ask(), ask()];
  await turn();
  assert.equal(reads.length, 1, 'one at a time');
  reads[0]?.resolve(1);
  assert.equal(await first, 1);
  await turn();
  reads[1]?.resolve(2);
  assert.deepEqual(await Promise.all([second, third]), [2, 2], 'what was read after they asked');
  assert.equal(reads.length, 2);
});

test('reads begin no more often than the pause lets them, however many ask', async () => {
  const waits: { ms: number; over: () => void }[] = [];
  const wait = (ms: number) => new Promise<void>((over) => void waits.push({ ms, over }));
  let reads = 0;
  const ask = sharedRead(
    async () => {
      reads += 1;
    },
    60_000,
    wait,
  );
  await ask();
  const asked = Array.from({ length: 50 }, () => ask());
  await turn();
  assert.equal(reads, 1);
  assert.equal(waits.length, 1);
  assert.ok((waits[0]?.ms ?? 0) > 50_000);
  waits[0]?.over();
  await Promise.all(asked);
  assert.equal(reads, 2);
});

test('a read that fails fails for those who shared it, and not for those after', async () => {
  let reads = 0;
  const ask = sharedRead(async () => {
    reads += 1;
    if (reads === 1) throw new Error('away');
    return reads;
  }, 0);
  const [a, b] = await Promise.allSettled([ask(), ask()]);
  assert.deepEqual([a.status, b.status], ['rejected', 'rejected']);
  assert.equal(await ask(), 2);
});
