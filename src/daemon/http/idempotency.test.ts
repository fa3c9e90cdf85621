import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ShadowferryError } from '../../errors.ts';
import { scratch } from '../fixture.test-data.ts';
import { openDaemonDatabase } from './database.ts';
import { Idempotency } from './idempotency.ts';

const code = (wanted: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === wanted;
const REQUEST = Idempotency.hash('POST', '/v1/x', { a: 1 });

test('a request acts once; its answer comes again, for this principal and this request only', (t) => {
  const db = openDaemonDatabase(join(scratch(t), 'd.db'));
  const kept = new Idempotency(db);
  assert.equal(kept.begin('me', 'k', REQUEST), undefined);
  assert.throws(() => kept.begin('me', 'k', REQUEST), code('IDEMPOTENCY_BUSY'));
  kept.finish('me', 'k', { status: 201, body: '{}' });
  assert.deepEqual(kept.begin('me', 'k', REQUEST), { status: 201, body: '{}' });
  assert.throws(
    () => kept.begin('me', 'k', Idempotency.hash('POST', '/v1/x', { a: 2 })),
    code('IDEMPOTENCY_REUSED'),
  );
  assert.equal(kept.begin('you', 'k', REQUEST), undefined);
  db.close();
});

test('what failed may be tried again; what was cut off by the end of the daemon is said to be unknown', (t) => {
  const path = join(scratch(t), 'd.db');
  const db = openDaemonDatabase(path);
  const kept = new Idempotency(db);
  kept.begin('me', 'failed', REQUEST);
  kept.abandon('me', 'failed');
  assert.equal(kept.begin('me', 'failed', REQUEST), undefined);
  const later = new Idempotency(db);
  assert.throws(
    () => later.begin('me', 'failed', REQUEST),
    (error) => code('IDEMPOTENCY_BUSY')(error) && /not known how far/.test(String(error)),
  );
  db.close();
});

test('answers are forgotten after a day', (t) => {
  const db = openDaemonDatabase(join(scratch(t), 'd.db'));
  let now = Date.now();
  const kept = new Idempotency(db, () => now);
  kept.begin('me', 'k', REQUEST);
  kept.finish('me', 'k', { status: 201, body: '{}' });
  now += 25 * 3_600_000;
  assert.equal(kept.begin('me', 'k', REQUEST), undefined);
  db.close();
});
