import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { degradedOf } from './degraded.ts';
import { NOTE } from './history.ts';
import { IncomingJournal } from './incoming/journal.ts';
import type { Telling } from './incoming/wire-model.ts';
import { HAND_OVER, orderOf } from './incoming/world.test-data.ts';
import { Journal } from './journal.ts';
import { type Ending, initialState } from './machine.ts';

const { vm } = HAND_OVER;

function journals(t: { after: TestContext['after'] }): { ours: Journal; arrivals: IncomingJournal } {
  const directory = mkdtempSync(join(tmpdir(), 'sf-degraded-'));
  const ours = new Journal(join(directory, 'journal.db'));
  const arrivals = new IncomingJournal(join(directory, 'incoming.db'));
  t.after(() => {
    ours.dispose();
    arrivals.dispose();
    rmSync(directory, { recursive: true });
  });
  return { ours, arrivals };
}

/** A VM comes, the device of which came, or not, and the end of which was told so. */
function arrive(
  arrivals: IncomingJournal,
  id: string,
  degraded: boolean,
  tells: readonly Telling[] = [],
): void {
  const handOver = { ...HAND_OVER, id };
  arrivals.open(handOver, orderOf(handOver), { kind: 'reserving' }, 'ordered');
  for (const [n, what] of tells.entries()) arrivals.tell(id, { rev: n + 2, atMs: 0, what });
  const state = { kind: 'settled', degraded } as const;
  const rev = tells.length + 2;
  arrivals.setState(id, state, { rev, atMs: 0, what: { kind: 'state', state, reason: '' } });
}

function leave(ours: Journal, id: string, ending: Ending, destination = 'alpha'): void {
  ours.open({ id, vm, source: 'beta', destination, request: {}, state: initialState(false) });
  ours.close(id, ending, {});
}

/** The clock has moved on: what comes now is later than what was written. */
async function later(): Promise<void> {
  const now = Date.now();
  while (Date.now() === now) await new Promise(setImmediate);
}

const REFUSED = {
  code: 'QMP_REFUSED',
  params: { command: 'device_add', class: 'GenericError', description: 'no room' },
};

test('a VM that came without its device suffers from that, with the reason, until it is mended', (t) => {
  const { ours, arrivals } = journals(t);
  assert.equal(degradedOf(vm, ours, arrivals), undefined);
  const attached = { replayed: {}, failed: { net0: REFUSED } };
  arrive(arrivals, 'm1', true, [{ kind: 'attached', attached }]);
  const degraded = degradedOf(vm, ours, arrivals);
  assert.deepEqual([degraded?.id, degraded?.host], ['m1', 'beta']);
  assert.match(degraded?.why ?? '', /device_add.*no room/s);
  degraded?.mended('net0: the device was missing');
  assert.equal(degradedOf(vm, ours, arrivals), undefined);
});

test('a VM that came with its device, and whose comparison failed, has something left to do', (t) => {
  const { ours, arrivals } = journals(t);
  const error = { code: 'DEADLINE', params: { what: 'the guest agent', ms: 5 } };
  arrive(arrivals, 'm1', false, [{ kind: 'settled', settled: { nics: {}, error } }]);
  assert.match(degradedOf(vm, ours, arrivals)?.why ?? '', /guest agent/);
});

test('what the coordinator of elsewhere wrote when the VM left counts no more when it has come back', async (t) => {
  const { ours, arrivals } = journals(t);
  leave(ours, 'm1', 'degraded');
  assert.equal(degradedOf(vm, ours, arrivals)?.id, 'm1');
  await later();
  arrive(arrivals, 'm2', false);
  assert.equal(degradedOf(vm, ours, arrivals), undefined);
});

test('of several arrivals the last counts, and after it what was done here', async (t) => {
  const { ours, arrivals } = journals(t);
  arrive(arrivals, 'm1', false);
  await later();
  arrive(arrivals, 'm2', true);
  assert.equal(degradedOf(vm, ours, arrivals)?.id, 'm2');
  await later();
  leave(ours, 's1', 'rolled-back', 'beta');
  assert.equal(degradedOf(vm, ours, arrivals)?.id, 'm2');
  leave(ours, 's2', 'degraded', 'beta');
  const swap = degradedOf(vm, ours, arrivals);
  assert.deepEqual([swap?.id, swap?.host], ['s2', 'beta']);
  swap?.mended('again');
  assert.equal(ours.notes('s2').at(-1)?.kind, NOTE.reattached);
  assert.equal(degradedOf(vm, ours, arrivals), undefined);
});

test('what did not come, or comes still, says nothing of the VM', async (t) => {
  const { ours, arrivals } = journals(t);
  arrive(arrivals, 'm1', true);
  await later();
  const handOver = { ...HAND_OVER, id: 'm2' };
  arrivals.open(handOver, undefined, { kind: 'discarded' }, 'cancelled');
  arrivals.open({ ...handOver, id: 'm3' }, orderOf(handOver), { kind: 'receiving' }, 'on its way');
  assert.equal(degradedOf(vm, ours, arrivals)?.id, 'm1');
});
