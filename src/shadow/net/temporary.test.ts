/** Privacy addresses: only the kernel makes temporary ones, so they come back as ordinary ones that end when they would. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { address, shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';
import { verify } from './verify.ts';

const TEMPORARY = address('fd77::abcd', {
  state: ['dynamic', 'temporary'],
  validSeconds: 600,
  preferredSeconds: 300,
});

test('a temporary address comes back with the same value and what is left of its time, and is told as adapted', () => {
  const before = shadow({ addresses: [TEMPORARY] });
  const plan = planReplay(before, { continuity: 'replay' });
  const added = plan.sets.attach.find(({ argv }) => argv.includes('fd77::abcd/64'))?.argv.join(' ') ?? '';
  assert.match(added, /valid_lft 600 preferred_lft 300 .*nodad/);
  const after = shadow({
    addresses: [{ ...TEMPORARY, state: ['dynamic'], flags: ['nodad'], validSeconds: 590 }],
  });
  const outcome = verify(before, after, plan).find(({ key }) => key.includes('fd77::abcd'));
  assert.equal(outcome?.fate, 'adapted', JSON.stringify(outcome));
});
