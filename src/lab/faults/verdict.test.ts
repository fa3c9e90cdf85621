/** Each thing that is looked at must be able to say that a case was lost. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Observation } from './observation.ts';
import { exceptionOf, judge, twoAtOnce } from './verdict.ts';

const CLEAN = { taps: [], directories: [], programs: [], rules: [], illness: undefined };

/** A migration from a to b that went well. */
const GOOD: Observation = {
  notInjected: undefined,
  killed: undefined,
  crashed: [],
  copies: [{ host: 'b', pid: 2, status: 'running', device: true }],
  spans: [
    { host: 'a', pid: 1, fromMs: 0, toMs: 100 },
    { host: 'b', pid: 2, fromMs: 120, toMs: null },
  ],
  answers: true,
  connections: [
    { alive: true, corrupt: 0 },
    { alive: true, corrupt: 0 },
  ],
  owner: 'b',
  claims: [{ host: 'b', device: 'nic0' }],
  hosts: { a: CLEAN, b: { ...CLEAN, taps: ['sfd1', 'sfs1'], directories: ['web1'] } },
  migration: { id: 'm1', source: 'a', destination: 'b', ending: 'completed' },
  explanation: { summary: 'it went well', lines: 7, advice: [] },
  ownTaps: ['sfd1', 'sfs1'],
};

/** What is wrong with a case that differs from a good one so. */
const problems = (change: Partial<Observation>) => judge({ ...GOOD, ...change }).problems;
const onA = (change: Partial<Observation['hosts']['a']>): Partial<Observation> => ({
  hosts: { ...GOOD.hosts, a: { ...CLEAN, ...change } },
});

test('a migration that went well survived', () => {
  assert.deepEqual(judge(GOOD), { survived: true, fate: 'lives', problems: [], exception: undefined });
});

describe('lost', () => {
  const cases: [string, Partial<Observation>, RegExp][] = [
    [
      'a fault that did not happen',
      { notInjected: 'the phase never came' },
      /not injected: the phase never came/,
    ],
    [
      'two copies that ran at once, though one has ended since',
      { spans: [{ host: 'a', pid: 1, fromMs: 0, toMs: 130 }, ...GOOD.spans.slice(1)] },
      /two copies ran at once/,
    ],
    [
      'two copies that run',
      { copies: [...GOOD.copies, { host: 'a', pid: 1, status: 'running', device: true }] },
      /two copies run: on b and a/,
    ],
    ['no copy that runs', { copies: [] }, /no copy runs/],
    [
      'a copy that stands still for ever',
      { copies: [{ host: 'a', pid: 1, status: 'paused', device: true }] },
      /no copy runs: one on a is paused/,
    ],
    [
      'a second copy, paused',
      { copies: [...GOOD.copies, { host: 'a', pid: 1, status: 'postmigrate', device: false }] },
      /a QEMU is left on a, postmigrate/,
    ],
    ['a record that names the other host', { owner: 'a' }, /runs on b, and the record names a/],
    ['no record', { owner: undefined }, /the record names nobody/],
    ['a guest that does not answer', { answers: false }, /does not answer/],
    [
      'a dead connection',
      { connections: [{ alive: false, corrupt: 0, why: 'reset' }] },
      /connection 0 is dead: reset/,
    ],
    ['wrong bytes', { connections: [{ alive: true, corrupt: 3 }] }, /3 wrong bytes/],
    ['no claim on the device', { claims: [] }, /claims on b are: none/],
    [
      'a claim that still belongs to the migration',
      { claims: [{ host: 'b', device: 'nic0', migration: 'm1' }] },
      /claimed for migration m1/,
    ],
    [
      'a claim on the other host',
      { claims: [...GOOD.claims, { host: 'a', device: 'nic0' }] },
      /nic0 on a is claimed/,
    ],
    [
      'a device that is missing without a word',
      { copies: [{ host: 'b', pid: 2, status: 'running', device: false }], claims: [] },
      /no device, and the migration ended "completed"/,
    ],
    [
      'a device that is missing and claimed for the migration',
      {
        copies: [{ host: 'b', pid: 2, status: 'running', device: false }],
        claims: [{ host: 'b', device: 'nic0', migration: 'm1' }],
        migration: { id: 'm1', source: 'a', destination: 'b', ending: 'degraded' },
      },
      /claimed for migration m1/,
    ],
    [
      'a device that is missing, and two that are claimed',
      {
        copies: [{ host: 'b', pid: 2, status: 'running', device: false }],
        claims: [...GOOD.claims, { host: 'b', device: 'nic1' }],
        migration: { id: 'm1', source: 'a', destination: 'b', ending: 'degraded' },
      },
      /2 of b are claimed/,
    ],
    ['a tap', onA({ taps: ['sfd1'] }), /tap sfd1 is left on a/],
    ['a directory', onA({ directories: ['web1'] }), /directory web1 is left on a/],
    ['a program', onA({ programs: ['sh (7)'] }), /program sh \(7\) is left on a/],
    ['a rule', onA({ rules: ['shadowferry'] }), /rule shadowferry is left on a/],
    [
      'a tap that is not the VM’s where it runs',
      { hosts: { ...GOOD.hosts, b: { ...GOOD.hosts.b, taps: ['sfd1', 'sfs1', 'sfd2'] } } },
      /tap sfd2 is left on b/,
    ],
    ['a daemon that is not well', onA({ illness: 'no answer' }), /daemon of a is not well: no answer/],
    ['a daemon that ended by itself', { crashed: ['b'] }, /daemon of b ended by itself/],
    ['a migration that nobody knows', { migration: undefined }, /no journal knows/],
    [
      'a migration that does not end',
      { migration: { id: 'm1', source: 'a', destination: 'b', ending: null } },
      /has not ended/,
    ],
    [
      'a migration that is stuck',
      { migration: { id: 'm1', source: 'a', destination: 'b', ending: 'stuck' } },
      /is stuck/,
    ],
    [
      'an ending that is not true',
      { migration: { id: 'm1', source: 'a', destination: 'b', ending: 'rolled-back' } },
      /says "rolled-back", and the VM runs on b/,
    ],
    [
      'a journal that explains nothing',
      { explanation: { summary: '', lines: 0, advice: [] } },
      /does not explain/,
    ],
  ];
  for (const [what, change, why] of cases) {
    test(what, () => {
      const { survived, problems: found } = judge({ ...GOOD, ...change });
      assert.equal(survived, false);
      assert.match(found.join('\n'), why);
    });
  }
});

test('a device that is missing and told is degraded and reconciled, kept for the VM or free', () => {
  const change: Partial<Observation> = {
    copies: [{ host: 'b', pid: 2, status: 'running', device: false }],
    claims: [],
    migration: { id: 'm1', source: 'a', destination: 'b', ending: 'degraded' },
  };
  assert.deepEqual(problems(change), []);
  assert.deepEqual(problems({ ...change, claims: GOOD.claims }), []);
});

describe('a killed QEMU', () => {
  const killed = { host: 'a', pid: 1, atMs: 50, holdsPages: false } as const;
  const spans: Observation['spans'] = [{ host: 'a', pid: 1, fromMs: 0, toMs: 50 }];
  const ended: Partial<Observation> = {
    ...{ killed, spans, copies: [], answers: false, claims: [] },
    connections: [{ alive: false, corrupt: 0 }],
    migration: { id: 'm1', source: 'a', destination: 'b', ending: 'stuck' },
    hosts: { a: { ...CLEAN, taps: ['sfd1'], directories: ['web1'] }, b: CLEAN },
  };

  test('that was the only one to run ends the VM, and that is the documented exception', () => {
    const verdict = judge({ ...GOOD, ...ended });
    assert.deepEqual([verdict.survived, verdict.fate], [true, 'ended'], verdict.problems.join('\n'));
    assert.match(verdict.exception ?? '', /ran the VM/);
  });

  test('does not excuse a migration that is stuck where the VM lives', () => {
    const { migration } = ended;
    assert.match(problems({ killed, spans, migration }).join(), /is stuck/);
  });

  test('must still be explained, and leave nothing where the VM did not run', () => {
    assert.match(problems({ ...ended, explanation: undefined }).join(), /does not explain/);
    const left = { a: CLEAN, b: { ...CLEAN, taps: ['sfd1'] } };
    assert.match(problems({ ...ended, hosts: left }).join(), /tap sfd1 is left on b/);
  });

  test('beside one that ran is no excuse', () => {
    const other = { ...killed, host: 'b', pid: 2 } as const;
    const running: Observation['spans'] = [{ host: 'a', pid: 1, fromMs: 0, toMs: 90 }];
    assert.equal(exceptionOf({ killed: other, spans: running }), undefined);
    assert.match(problems({ ...ended, killed: other, spans: running }).join(), /no copy runs/);
  });

  test('that held pages, or was killed while neither ran, may end the VM', () => {
    const late = { ...killed, atMs: 130 };
    assert.equal(exceptionOf({ killed: late, spans: GOOD.spans }), undefined);
    assert.match(
      exceptionOf({ killed: { ...late, holdsPages: true }, spans: GOOD.spans }) ?? '',
      /rest of its memory/,
    );
    assert.match(exceptionOf({ killed: { ...killed, atMs: 110 }, spans: GOOD.spans }) ?? '', /between/);
  });
});

test('spans that only touch are not at once', () => {
  const span = (pid: number, fromMs: number, toMs: number | null) =>
    ({ host: 'a', pid, fromMs, toMs }) as const;
  assert.equal(twoAtOnce([span(1, 0, 10), span(2, 10, null)]), undefined);
  assert.equal(twoAtOnce([span(1, 0, 10), span(1, 5, 8)]), undefined, 'one QEMU may say it twice');
  assert.ok(twoAtOnce([span(1, 0, null), span(2, 10, 11)]));
});
