/** The queue by the API of a daemon, which is real; no VM runs. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseRequest } from '../../migration/request.ts';
import { MigrationDetail } from '../api/model.ts';
import { problemIn, type Reply, scratch, testDaemon } from '../fixture.test-data.ts';
import { openDaemonDatabase } from '../http/database.ts';
import { Idempotency } from '../http/idempotency.ts';
import { otherHosts } from './fixture.test-data.ts';
import { JobStore } from './job-store.ts';

const LIMIT = { timeout: 60_000 };
const BODY = { vm: 'web1', destination: 'beta', whenItComes: true };
const request = parseRequest({ vm: 'web1', destination: 'beta' });

const detailIn = ({ body }: Reply) => MigrationDetail.parse(JSON.parse(body));

/** The state of a daemon that was killed with one migration in its queue, which waits for its VM. */
function stateWithOne(directory: string, key?: string): void {
  const state = join(directory, 'state');
  mkdirSync(state, { mode: 0o700 });
  const store = new JobStore(join(state, 'queue.db'));
  const about = { id: 'm1', vm: 'web1', principal: 'local', source: 'alpha', destination: 'beta' };
  const work = { kind: 'migration', request, hold: false, whenItComes: true } as const;
  store.add({ ...about, work, slot: 1, turn: 1, createdMs: Date.now() }, key);
  store.dispose();
  if (key === undefined) return;
  const db = openDaemonDatabase(join(state, 'daemon.db'));
  new Idempotency(db).begin('local', key, Idempotency.hash('POST', '/v1/migrations', BODY));
  db.close();
}

test(
  'a request that was accepted and not answered, as the daemon died, is answered when it comes again',
  LIMIT,
  async (t) => {
    const directory = scratch(t);
    stateWithOne(directory, 'k1');
    const { send } = await testDaemon(t, {}, {}, directory);
    const post = () =>
      send('/v1/migrations', {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': 'k1' },
        body: JSON.stringify(BODY),
      });
    for (const reply of [await post(), await post()]) {
      assert.deepEqual([reply.status, reply.headers['idempotency-replayed']], [202, 'true']);
      const { id, state, queue } = detailIn(reply);
      assert.deepEqual([id, state], ['m1', 'queued']);
      assert.match(queue?.reason ?? '', /has not come to alpha yet|looked at next/);
    }
  },
);

test(
  'what waits is shown, explained and cancelled, and is an ended migration from then on',
  LIMIT,
  async (t) => {
    const directory = scratch(t);
    stateWithOne(directory);
    const { send, daemon } = await testDaemon(t, {}, {}, directory);
    const first = detailIn(await send('/v1/migrations/m1'));
    assert.deepEqual([first.state, first.phase, first.result], ['queued', null, null]);
    assert.match((await send('/v1/migrations/m1/explanation')).body, /waits, number 1/);
    assert.equal(problemIn(await send('/v1/migrations/m1/steps?limit=0')).code, 'INPUT_FIELD');
    assert.equal((await send('/v1/migrations/m1/steps')).status, 200);
    const post = (path: string) => send(path, { method: 'POST' });
    assert.equal(problemIn(await post('/v1/migrations/m1/confirm')).code, 'NOT_HELD');
    const cancelled = await post('/v1/migrations/m1/cancel');
    assert.equal(cancelled.status, 202);
    const { state, ending, error } = detailIn(await send('/v1/migrations/m1'));
    assert.deepEqual([state, ending, error?.code], ['ended', 'rolled-back', 'CANCELLED']);
    assert.equal(problemIn(await post('/v1/migrations/m1/cancel')).code, 'CANCEL_LATE');
    assert.match((await send('/metrics')).body, /shadowferry_queue_length 0/);
    assert.equal(daemon.hub.readers, 0);
  },
);

test('requests that cannot be are refused with the reason, and nothing waits', LIMIT, async (t) => {
  const { send } = await testDaemon(t, {}, { destinations: otherHosts });
  const post = async (path: string, body: unknown) =>
    problemIn(
      await send(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
    );
  const plain = { vm: 'web1', destination: 'beta' };
  const codes = async (bodies: unknown[]) =>
    Promise.all(bodies.map(async (body) => (await post('/v1/migrations', body)).code));
  assert.deepEqual(
    await codes([
      plain,
      BODY,
      { ...plain, destination: 'alpha' },
      { ...plain, destination: 'delta' },
      { ...plain, vm: '../x' },
      { ...plain, vm: '$(reboot)' },
      { ...plain, devices: { net0: 'a b' } },
      { ...plain, limits: { copyMs: 0 } },
      { ...plain, hold: 'yes' },
    ]),
    [
      ...['UNKNOWN_VM', 'UNKNOWN_VM', 'SAME_HOST', 'UNKNOWN_HOST'],
      ...['INPUT_FIELD', 'INPUT_FIELD', 'INPUT_FIELD', 'INPUT_FIELD', 'INPUT_FIELD'],
    ],
  );
  for (const path of ['swaps', 'rescues'])
    assert.equal((await post(`/v1/vms/web1/${path}`, { with: 'nic1' })).code, 'UNKNOWN_VM');
  assert.equal((await post('/v1/vms/web1/attach', {})).code, 'UNKNOWN_VM');
  assert.deepEqual(JSON.parse((await send('/v1/migrations')).body), { items: [], next: null });
});
