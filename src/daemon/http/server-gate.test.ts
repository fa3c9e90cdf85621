/** What waits and what does not while a VM is handed over, over the server itself. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { ShadowferryError } from '../../errors.ts';
import { API } from '../api/contract.ts';
import { bind } from '../api/handlers.ts';
import { Problem } from '../api/model.ts';
import { createToken, TokenList } from '../auth/tokens.ts';
import { scratch } from '../fixture.test-data.ts';
import { openDaemonDatabase } from './database.ts';
import { EventLog } from './event-log.ts';
import { EventHub } from './event-stream.ts';
import { Gate } from './gate.ts';
import { Idempotency } from './idempotency.ts';
import { makeMetrics } from './metrics.ts';
import { makeApp } from './server.ts';

const CANCEL = '/v1/migrations/m1/cancel';

/** A server with three calls, whose gate's time passes when the test says so. */
async function setup(t: TestContext) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const directory = scratch(t);
  let nowMs = 0;
  const gate = new Gate(() => nowMs);
  const db = openDaemonDatabase(join(directory, 'daemon.db'));
  const hub = new EventHub(new EventLog(db, 100), { streams: 1, streamBytes: 1000 });
  const tokens = join(directory, 'tokens.json');
  const other = createToken(tokens, { name: 'other', role: 'viewer', days: 1 }).token;
  const app = await makeApp({
    ...{ gate, hub, idempotency: new Idempotency(db), version: '1', requestsPerSecond: 1_000_000 },
    metrics: makeMetrics({ version: '1', host: 'alpha' }),
    handlers: {
      health: bind(API.health, () => ({ status: 'ok' as const })),
      listVms: bind(API.listVms, () => ({ items: [], next: null })),
      cancelMigration: bind(API.cancelMigration, ({ params: { id } }) => {
        throw new ShadowferryError('CANCEL_LATE', { id, why: 'it has ended' });
      }),
    },
    identities: { tokens: new TokenList(tokens), revoked: undefined, peers: new Set(), nowMs: Date.now },
    log: pino({ level: 'silent' }),
    stopping: () => false,
  });
  t.after(async () => {
    gate.close();
    await app.close();
    hub.close();
    db.close();
  });
  const pass = async (ms: number) => {
    for (let at = 0; at < ms; at += 50) {
      nowMs += 50;
      t.mock.timers.tick(50);
      await new Promise(setImmediate);
    }
  };
  return { app, gate, pass, asOther: { authorization: `Bearer ${other}` } };
}

test('while a VM is handed over a flood waits or is told to come again; a cancel, and others, do not wait for it', async (t) => {
  const { app, gate, pass, asOther } = await setup(t);
  gate.urgent('m1', true);
  const flood = Array.from({ length: 200 }, () => app.inject({ url: '/v1/vms' }));
  while (gate.waiting < flood.length) await new Promise(setImmediate);
  const cancelled = await app.inject({ method: 'POST', url: CANCEL });
  assert.equal(cancelled.statusCode, 409, cancelled.body);
  const looked = app.inject({ url: '/v1/health', headers: asOther });
  const refused = app.inject({ method: 'POST', url: CANCEL, headers: asOther });
  while (gate.waiting < flood.length + 2) await new Promise(setImmediate);
  await pass(250);
  assert.equal((await looked).statusCode, 200);
  assert.equal((await refused).statusCode, 403, 'who may not cancel waits like everybody');
  await pass(2000);
  const replies = await Promise.all(flood);
  const late = replies.filter(({ statusCode }) => statusCode === 503);
  assert.ok(late.length > 100 && late.length < 200, `${late.length} of ${replies.length}`);
  assert.ok(replies.every(({ statusCode }) => statusCode === 200 || statusCode === 503));
  for (const { headers, body } of late.slice(0, 3)) {
    assert.equal(Problem.parse(JSON.parse(body)).code, 'HAND_OVER_FIRST');
    assert.equal(headers['retry-after'], '1');
  }
});

test('when the hand-over is over, all that wait are answered', async (t) => {
  const { app, gate } = await setup(t);
  gate.urgent('m1', true);
  const flood = Array.from({ length: 50 }, () => app.inject({ url: '/v1/vms' }));
  while (gate.waiting < flood.length) await new Promise(setImmediate);
  gate.urgent('m1', false);
  const replies = await Promise.all(flood);
  assert.ok(replies.every(({ statusCode }) => statusCode === 200));
});
