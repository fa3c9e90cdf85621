import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PRUNED_AT_ONCE } from '../../migration/prune.ts';
import { keepForgetting } from './forget.ts';

/** Journals that give what a test says, one number a call, and tell when they were asked. */
function setup(options: { gives: (call: number) => number; busy?: () => boolean }) {
  const done = Promise.withResolvers<void>();
  const said: unknown[] = [];
  let calls = 0;
  const stop = keepForgetting({
    journals: {
      outgoing: {
        prune: () => {
          calls += 1;
          return options.gives(calls);
        },
      },
      incoming: {
        prune: () => {
          done.resolve();
          return 0;
        },
      },
    },
    keep: { days: 90, entries: 10 },
    vms: () => ['web1'],
    busy: options.busy ?? (() => false),
    log: { info: (about: unknown) => said.push(about), warn: (about: unknown) => said.push(about) },
    pauseMs: 1,
  });
  return { done: done.promise, stop, said, calls: () => calls };
}

test('each journal is asked until it has no more to forget', async () => {
  const { done, stop, said, calls } = setup({ gives: (call) => (call < 3 ? PRUNED_AT_ONCE : 5) });
  await done;
  await stop();
  assert.equal(calls(), 3);
  assert.deepEqual(said, [{ journal: 'outgoing', entries: 2 * PRUNED_AT_ONCE + 5 }]);
});

test('while a migration is under way nothing is written', async () => {
  let looks = 0;
  const busy = () => {
    looks += 1;
    return looks < 4;
  };
  const { done, stop, calls } = setup({ gives: () => 0, busy });
  await done;
  await stop();
  assert.equal(calls(), 1);
  assert.ok(looks >= 4);
});

test('a journal that cannot be written is told of, and the others are asked all the same', async () => {
  const { done, stop, said } = setup({
    gives: () => {
      throw new Error('disk full');
    },
  });
  await done;
  await stop();
  assert.equal(said.length, 1);
});
