import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ShadowferryError } from '../../errors.ts';
import { API } from '../api/contract.ts';
import { scratch } from '../fixture.test-data.ts';
import { problemOf } from '../http/problem.ts';
import { DaemonClient } from './client.ts';

const BUSY = new ShadowferryError('HAND_OVER_FIRST', { seconds: 1 });

/** A daemon that refuses so many requests, and then answers. */
async function refusing(t: TestContext, many: number, error: ShadowferryError) {
  let asked = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    if (asked > many) return void response.end(JSON.stringify({ status: 'ok' }));
    response.statusCode = error.status;
    response.end(JSON.stringify(problemOf(error, 'r')));
  });
  const address = join(scratch(t), 'd.sock');
  server.listen(address);
  await once(server, 'listening');
  t.after(() => server.close());
  const client = new DaemonClient({ address }, 1);
  const ask = (signal?: AbortSignal) =>
    client.call(API.health, { params: {}, query: {} }, signal === undefined ? {} : { signal });
  return { ask, asked: () => asked };
}

test('a daemon that hands a VM over, or is asked too often, is asked again', async (t) => {
  const busy = await refusing(t, 3, BUSY);
  assert.deepEqual(await busy.ask(), { status: 'ok' });
  assert.equal(busy.asked(), 4);
  const often = await refusing(
    t,
    1,
    new ShadowferryError('RATE_LIMITED', { principal: 'local', max: 5, seconds: 1 }),
  );
  assert.deepEqual(await often.ask(), { status: 'ok' });
});

test('not for ever, not after its caller has lost patience, and not for any other reason', async (t) => {
  const long = await refusing(t, 1000, BUSY);
  await assert.rejects(long.ask(), { code: 'HAND_OVER_FIRST' });
  assert.equal(long.asked(), 10);
  await assert.rejects(long.ask(AbortSignal.timeout(5)));
  const stops = await refusing(t, 1, new ShadowferryError('DAEMON_STOPPING', {}));
  await assert.rejects(stops.ask(), { code: 'DAEMON_STOPPING' });
  assert.equal(stops.asked(), 1);
});
