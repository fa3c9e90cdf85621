/** The command line as a client of a daemon that is one, with VMs and engines that are not. */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { API } from '../daemon/api/contract.ts';
import { DaemonClient } from '../daemon/client/client.ts';
import { framesOf } from '../daemon/client/events.ts';
import { testDaemon } from '../daemon/fixture.test-data.ts';
import { parseRequest } from '../migration/request.ts';
import { engineEvent, follow } from './follow.ts';
import { migrateRemotely, refuseHere } from './remote-work.ts';

test('frames are taken apart wherever the text was cut', () => {
  const text = 'retry: 2000\n\nid: 1\nevent: a\ndata: {}\n\n: beat\n\nid: 2\nevent: b\ndata: {"x":1}\n\n';
  const seen: string[] = [];
  let rest = '';
  for (const char of text) {
    const found = framesOf(rest + char);
    rest = found.rest;
    seen.push(...found.frames.map(({ event, data }) => `${event} ${data}`));
  }
  assert.deepEqual(seen, ['a {}', 'b {"x":1}']);
});

test('events of the API are those of the engine again', () => {
  const data = { id: 'm1', vm: 'web1', sinceMs: 5, phase: 'copy', reason: 'r' };
  assert.deepEqual(engineEvent({ type: 'migration.phase', data }), {
    ...{ type: 'phase', atMs: 5, phase: 'copy', reason: 'r' },
  });
  assert.equal(engineEvent({ type: 'migration.queued', data }), undefined);
  assert.equal(engineEvent({ type: 'migration.phase', data: { ...data, phase: 'lunch' } }), undefined);
});

test('what works on this machine only is refused', () => {
  assert.throws(() => refuseHere({ '--probe': true }), /--probe: works with a VM of this machine only/);
  refuseHere({ '--probe': false, '--report': undefined });
});

test('what the daemon refuses is the error of the command', { timeout: 30_000 }, async (t) => {
  const { socket } = await testDaemon(t);
  const client = new DaemonClient({ address: socket });
  const how = { hold: false, whenItComes: false };
  const request = parseRequest({ vm: 'web1', destination: 'beta' });
  await assert.rejects(migrateRemotely(client, request, how, { json: true, detach: true }), {
    code: /UNKNOWN_(VM|HOST)/,
  });
  await assert.rejects(migrateRemotely(client, request, how, { json: true, detach: false }), {
    code: /UNKNOWN_(VM|HOST)/,
  });
  const none = { params: { id: 'm1' }, query: {}, body: {} };
  await assert.rejects(client.call(API.cancelMigration, none), { code: 'UNKNOWN_MIGRATION' });
  await assert.rejects(client.call(API.confirmMigration, none), { code: 'UNKNOWN_MIGRATION' });
});

test('a stream that breaks is opened again where it was', { timeout: 30_000 }, async (t) => {
  const { daemon, socket } = await testDaemon(t);
  const client = new DaemonClient({ address: socket });
  const over = new AbortController();
  const seen: string[] = [];
  const say = mock.fn();
  for await (const item of client.events({ signal: over.signal })) {
    if (item.kind === 'look') {
      say();
      if (say.mock.callCount() === 1) daemon.hub.publish('migration.queued', { id: 'm1' });
      continue;
    }
    seen.push(item.event.type);
    if (seen.length === 1) {
      // as a link that breaks: the event is published while nobody reads
      daemon.hub.close();
      daemon.hub.publish('migration.started', { id: 'm1' });
    }
    if (seen.includes('migration.started')) break;
  }
  assert.deepEqual(seen, ['migration.queued', 'migration.started']);
  assert.equal(say.mock.callCount(), 2, 'and everything was looked at again');
});

test('one that has ended at once is not waited for', { timeout: 30_000 }, async (t) => {
  const { socket } = await testDaemon(t);
  const client = new DaemonClient({ address: socket });
  const looked: string[] = [];
  const detail = await follow(
    client,
    async () => ({
      ...{
        id: 'm1',
        kind: 'migration',
        vm: 'a',
        source: 'alpha',
        destination: 'beta',
        nic: null,
        with: null,
      },
      ...{ state: 'ended', queue: null, held: false, copy: null, phase: null, committed: false },
      ...{ createdMs: 1, endedMs: 2, ending: 'planned', totalMs: 1, blackoutMs: null, memoryBytes: 0 },
      ...{ error: null, request: {}, result: {} },
    }),
    { onEvent: () => {}, onLook: ({ state }) => void looked.push(state) },
  );
  assert.deepEqual([detail.ending, looked], ['planned', ['ended']]);
});
