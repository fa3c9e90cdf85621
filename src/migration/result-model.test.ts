import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MigrationResult } from './result.ts';
import { ResultText } from './result-model.ts';

const shadow: MigrationResult['shadow'] = {
  captured: 3,
  restored: [{ fate: 'restored', key: 'mtu', value: '1500', nic: 'net0' }],
  adapted: [{ fate: 'adapted', key: 'ring.rx', value: '512', now: '256', how: 'the nearest' }],
  lost: [{ fate: 'lost', key: 'feature.lro', value: 'on', why: 'not offered' }],
};
const device = { model: 'e1000e', driver: 'e1000e' };

const whole: MigrationResult = {
  ...{ id: 'm1', vm: 'web1', source: 'alpha', destination: 'beta', ending: 'degraded', ok: false },
  ...{ from: device, to: device, continuity: 'bridge', strategy: 'precopy', startedAtMs: 1, totalMs: 2 },
  ...{ blackoutMs: null, qemuDowntimeMs: 3, memoryBytes: 4, warnings: ['w'], left: ['tap'] },
  phases: [{ name: 'copy', startMs: 1, durationMs: 2 }],
  steps: [{ phase: 'copy', name: 'copy', startMs: 1, durationMs: 2, critical: false, detail: 'd' }],
  marks: [{ name: 'commit', atMs: 3, detail: 'net0' }],
  progress: [
    {
      ...{ type: 'progress', atMs: 1, phase: 'copy', transferred: 1, remaining: 2, total: 3 },
      ...{ rateBps: 4, dirtyRateBps: 5, round: 1, etaMs: null, reason: 'r' },
      ...{ of: 'disks', residual: { bytes: 2, etaMs: null } },
    },
  ],
  decisions: [{ atMs: 1, action: 'precopy', reason: 'r' }],
  shadow,
  nics: [
    {
      ...{ nic: 'net0', mac: '52:54:00:00:00:01', network: 'lan', ok: false, continuity: 'hold', shadow },
      from: { ...device, device: 'nic0' },
      to: { device: 'nic1', model: 'igb', driver: null },
      persisted: ['/etc/network/interfaces'],
      error: { code: 'DEADLINE', message: 'm', fix: 'f' },
    },
  ],
  error: { code: 'DEGRADED', message: 'm', fix: 'f' },
};

test('a result is the same after it was written and read', () => {
  const read: MigrationResult = ResultText.parse(JSON.parse(JSON.stringify(whole)));
  assert.deepEqual(read, whole);
});

test('a short result, and one with an error that this program does not know, can be shown', () => {
  const short = { id: 'm1', vm: 'a', source: 'b', destination: 'c', ending: 'rolled-back', ok: false };
  const figures = { totalMs: 0, blackoutMs: null, memoryBytes: 0 };
  const error = { code: 'OF_LATER', message: 'something new', fix: '' };
  const read: MigrationResult = ResultText.parse({ ...short, ...figures, error });
  assert.deepEqual([read.error?.code, read.error?.message], ['INTERNAL', 'something new']);
  assert.deepEqual(read.shadow.lost, []);
});
