import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PHASES } from '../../base/phases.ts';
import { ALL_FAULTS, allCases, chosen, meaningless } from './cases.ts';

const ALL = allCases({ precopy: true });

test('the matrix has at least 150 cases, the short form at least 40, and no case twice', () => {
  const cases = allCases({ precopy: false });
  assert.ok(cases.length >= 150, `${cases.length}`);
  const short = cases.filter((each) => each.short);
  assert.ok(short.length >= 40, `${short.length}`);
  assert.equal(new Set(cases.map(({ id }) => id)).size, cases.length);
});

test('every fault is tried in every phase in which it means something, and once in the short form', () => {
  const cases = allCases({ precopy: true });
  for (const fault of ALL_FAULTS) {
    for (const phase of PHASES) {
      const there = cases.some((each) => each.phase === phase && each.fault === fault);
      assert.equal(there, meaningless(phase, fault) === undefined, `${phase}/${fault}`);
    }
    assert.ok(
      cases.some((each) => each.short && each.fault === fault),
      fault,
    );
  }
});

test('cases are chosen by a part of their name', () => {
  const some = chosen(ALL, ['attach/', 'link-2s']);
  assert.ok(some.length > 0 && some.every(({ id }) => id.includes('attach/') || id.includes('link-2s')));
  assert.equal(chosen(ALL, []).length, ALL.length);
});

test('with pre-copy there are more cases, where memory moves', () => {
  const more = ALL.filter(({ way }) => way === 'precopy');
  assert.deepEqual([...new Set(more.map(({ phase }) => phase))], ['copy', 'switchover']);
  assert.equal(ALL.length - more.length, allCases({ precopy: false }).length);
});
