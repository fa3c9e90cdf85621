/** The two halves over real HTTP: a coordinator, a link that loses what it wants, and a destination without QEMU. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import { fakeHost } from '../../host/fake-host.test-data.ts';
import { DISK_EXPORT, HAND_OVER, orderOf, World } from '../../migration/incoming/world.test-data.ts';
import { Journal } from '../../migration/journal.ts';
import { type Event, initialState, transition } from '../../migration/machine.ts';
import type { RunLog } from '../../migration/run.ts';
import { Timeline } from '../../migration/timeline.ts';
import { PEER_API } from '../api/contract-peer.ts';
import { TokenList } from '../auth/tokens.ts';
import { DaemonConfig } from '../config/model.ts';
import { openDaemonDatabase } from '../http/database.ts';
import { EventLog } from '../http/event-log.ts';
import { EventHub } from '../http/event-stream.ts';
import { Gate } from '../http/gate.ts';
import { Idempotency } from '../http/idempotency.ts';
import { openListeners } from '../http/listeners.ts';
import { makeMetrics } from '../http/metrics.ts';
import { makeApp } from '../http/server.ts';
import { initCa, issueIn } from '../pki/directory.ts';
import { makePeerHandlers } from '../services/peer.ts';
import { PeerLink } from './link.ts';
import { RemoteDestination } from './remote-destination.ts';

const pki = mkdtempSync(join(tmpdir(), 'sf-peer-pki-'));
before(async () => {
  await initCa(pki, 'peers', 10);
  for (const name of ['alpha', 'beta', 'gamma'])
    await issueIn(pki, { kind: 'host', name }, ['127.0.0.1'], 10);
  await issueIn(pki, { kind: 'client', name: 'admin', role: 'admin' }, ['127.0.0.1'], 10);
});
test.after(() => rmSync(pki, { recursive: true }));

const credentials = (name: string) => ({
  certificate: join(pki, `${name}.crt`),
  key: join(pki, `${name}.key`),
  clientCa: join(pki, 'ca.crt'),
});

/** What becomes of a request: it is lost, acts and its answer is lost, acts twice, or nothing happens to it. */
type Fate = 'before' | 'after' | 'fine';

/** A daemon of host beta, with the peer's calls alone. */
async function listen(t: TestContext, world: World, fate: (url: string) => Fate, peers = ['alpha']) {
  const directory = mkdtempSync(join(tmpdir(), 'sf-peer-'));
  const db = openDaemonDatabase(join(directory, 'daemon.db'));
  const journal = new Journal(join(directory, 'journal.db'));
  const metrics = makeMetrics({ version: '1', host: 'beta' });
  const limits = { streams: 1, streamBytes: 1000 };
  const hub = new EventHub(new EventLog(db, 100), limits, () => {});
  const app = await makeApp({
    gate: new Gate(),
    handlers: {},
    peer: makePeerHandlers({
      // whichever lives
      incoming: {
        open: () => world.service.open(),
        reserve: (order) => world.service.reserve(order),
        tell: (message) => world.service.tell(message),
        stage: (id, nics) => world.service.stage(id, nics),
        report: (id, after, waitMs) => world.service.report(id, after, waitMs),
        handOverOf: (id) => world.service.handOverOf(id),
      },
      destination: {
        devices: async () => [{ id: 'nic0', kind: 'emulated-nic', model: 'vmxnet3', network: 'lan' }],
        model: async () => ({ pciId: '15ad:07b0', modalias: 'pci:v' }),
        receiving: async () => ({ postcopy: { supported: true, reason: '' }, capabilities: ['events'] }),
        places: async (paths) => paths.map((path) => ({ path, what: 'nothing' })),
        answerUnreachable: async () => {},
      },
      host: fakeHost(directory),
      journal,
    }),
    identities: {
      tokens: new TokenList(join(directory, 'tokens.json')),
      revoked: undefined,
      peers: new Set(peers),
      nowMs: Date.now,
    },
    ...{ hub, idempotency: new Idempotency(db), metrics, version: '1', requestsPerSecond: 5 },
    log: pino({ level: 'silent' }),
    stopping: () => false,
  });
  const sockets = new Set<Socket>();
  world.onDeath = () => {
    for (const socket of sockets) socket.destroy();
  };
  const handler: RequestListener = (request, response) => {
    sockets.add(request.socket);
    const what = fate(request.url ?? '');
    if (what === 'before') return void request.socket.destroy();
    if (what === 'after') {
      const lose = () => {
        request.socket.destroy();
        return response;
      };
      response.writeHead = lose;
      response.end = lose;
    }
    app.routing(request, response);
  };
  const config = DaemonConfig.parse({
    ...{ host: 'beta', socket: { path: join(directory, 's') } },
    listen: { address: '127.0.0.1:7443', ...credentials('beta') },
  });
  // whichever port is free
  const tls = { ...config.listen, ...credentials('beta'), address: { host: '127.0.0.1', port: 0 } };
  const listeners = await openListeners(
    { ...config, listen: { ...tls, authentication: 'certificate' } },
    handler,
  );
  t.after(async () => {
    await listeners.close(0);
    await app.close();
    hub.close();
    db.close();
    journal.dispose();
    rmSync(directory, { recursive: true });
  });
  return { port: listeners.port ?? 0, journal };
}

/** A coordinator's log, as the engine has one. */
function runLog(id = HAND_OVER.id): RunLog & { timeline: Timeline } {
  const journal = { begin: () => 1, end: () => {}, note: () => {} };
  return { id, journal, timeline: new Timeline(), warnings: [], decisions: [], emit: () => {} };
}

function linkTo(t: TestContext, port: number, as = 'alpha', name = 'beta'): PeerLink {
  const address = { host: '127.0.0.1', port };
  const link = new PeerLink({ name, address, credentials: credentials(as), answerMs: 2_000 });
  t.after(() => link.close());
  return link;
}

const until = () => AbortSignal.timeout(20_000);

/** The engine's part of a migration, as its phases call the destination. */
async function coordinate(world: World, destination: RemoteDestination, log: RunLog) {
  await world.ownership.register('web', 'alpha');
  world.source = 'before';
  const [device] = await destination.devices();
  assert.equal(device?.id, 'nic0');
  const [place] = await destination.places(['/srv/web.raw'], until());
  assert.deepEqual(place, { path: '/srv/web.raw', what: 'nothing' });
  const incoming = await destination.reserve(orderOf(HAND_OVER), log, until());
  assert.equal(incoming.uri, 'tcp:192.0.2.2:4444');
  assert.deepEqual(incoming.exports, [DISK_EXPORT]);
  await incoming.stage([]);
  world.machine.load();
  await incoming.loaded(until());
  const owned = await world.commit();
  await incoming.allow(owned, until());
  const runningMs = await incoming.running(until());
  assert.ok(Math.abs(runningMs - Date.now()) < 30_000);
  const carriers: string[] = [];
  const { replayed, failed } = await incoming.attach((nic) => carriers.push(nic));
  assert.deepEqual([[...replayed.keys()], failed.size, carriers], [['net0'], 0, ['net0']]);
  assert.equal((await incoming.settle()).size, 0);
  incoming.close();
}

const refusedAs = (code: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === code;

test('a migration over two hosts: the coordinator hears all of it, in its own time', async (t) => {
  const world = new World(t);
  const { port } = await listen(t, world, () => 'fine');
  const log = runLog();
  await coordinate(world, new RemoteDestination(linkTo(t, port)), log);
  assert.equal(world.machine.ran, 1);
  assert.ok(log.timeline.at('vCPUs run') !== undefined);
  assert.deepEqual(log.warnings, []);
});

const CALLS = ['devices', 'clock', 'incoming?', 'staged', 'messages', 'after='] as const;

test('each call may be lost before it acts or after, and the VM runs once', async (t) => {
  for (const call of CALLS)
    for (const what of ['before', 'after'] as const)
      await t.test(`${call} lost ${what} it acted`, async (t) => {
        const world = new World(t);
        let left = 2;
        const { port } = await listen(t, world, (url) => {
          const mine = call === 'incoming?' ? url === '/v1/peer/incoming' : url.includes(call);
          if (!mine || left === 0) return 'fine';
          left -= 1;
          return what;
        });
        await coordinate(world, new RemoteDestination(linkTo(t, port)), runLog());
        assert.equal(world.machine.ran, 1);
        assert.equal(left, 0);
      });
});

test('a destination that is killed at any state is found again by the coordinator', async (t) => {
  for (const call of ['reserve', 'continueVm', 'attach', 'settle'] as const)
    for (const when of ['before', 'after'] as const)
      await t.test(`${when} ${call}`, async (t) => {
        const world = new World(t, { call, when });
        const { port } = await listen(t, world, () => 'fine');
        await coordinate(world, new RemoteDestination(linkTo(t, port)), runLog());
        assert.equal(world.machine.ran, 1);
      });
});

test('a link that is cut after the vote: the destination goes on by itself, and is heard again later', async (t) => {
  const world = new World(t);
  let cut = false;
  const { port } = await listen(t, world, () => (cut ? 'before' : 'fine'));
  await world.ownership.register('web', 'alpha');
  world.source = 'before';
  const log = runLog();
  const incoming = await new RemoteDestination(linkTo(t, port)).reserve(orderOf(HAND_OVER), log, until());
  await incoming.stage([]);
  world.machine.load();
  await incoming.loaded(until());
  cut = true;
  world.source = undefined;
  const owned = await world.commit();
  const allowed = incoming.allow(owned, AbortSignal.timeout(100));
  await world.until('settled');
  await allowed;
  cut = false;
  await incoming.running(until());
  await incoming.attach(() => {});
  await incoming.settle();
  incoming.close();
  assert.equal(world.machine.ran, 1);
  assert.ok(
    log.warnings.some((text) => text.includes('PEER_UNREACHABLE') || text.includes('does not answer')),
  );
});

test('going back takes away what the other host made, also for a coordinator that began anew', async (t) => {
  for (const same of [true, false]) {
    const world = new World(t);
    const { port } = await listen(t, world, () => 'fine');
    await world.ownership.register('web', 'alpha');
    world.source = 'before';
    const first = new RemoteDestination(linkTo(t, port));
    const incoming = await first.reserve(orderOf(HAND_OVER), runLog(), until());
    const second = same ? first : new RemoteDestination(linkTo(t, port));
    const of = { vm: 'web', migration: HAND_OVER.id };
    for (let n = 0; n < 2; n += 1) await second.undo(of, { kind: 'end-destination', host: 'beta' });
    assert.match(await incoming.gone, /does not take the VM/);
    incoming.close();
    assert.deepEqual([world.machine.qemu, world.machine.taps], [undefined, false]);
    assert.deepEqual(await world.ownership.claims('beta'), []);
    await second.undo({ vm: 'web', migration: 'never' }, { kind: 'end-destination', host: 'beta' });
  }
});

test('why the other host says no is told as if it had been met here', async (t) => {
  const world = new World(t);
  const { port } = await listen(t, world, () => 'fine');
  const destination = new RemoteDestination(linkTo(t, port));
  await world.ownership.register('web', 'alpha');
  world.source = 'before';
  const order = orderOf(HAND_OVER, 'nic9');
  await assert.rejects(destination.reserve(order, runLog(), until()), refusedAs('UNKNOWN_DEVICE'));
  world.machine.failing.set(
    'reserve',
    () => new ShadowferryError('QEMU_START_FAILED', { host: 'beta', why: 'no memory' }),
  );
  await assert.rejects(
    destination.reserve(orderOf(HAND_OVER), runLog(), until()),
    refusedAs('QEMU_START_FAILED'),
  );
});

test('only a configured peer may ask, and only about what is its own', async (t) => {
  const world = new World(t);
  const { port } = await listen(t, world, () => 'fine');
  await world.ownership.register('web', 'alpha');
  world.source = 'before';
  const own = new RemoteDestination(linkTo(t, port));
  const incoming = await own.reserve(orderOf(HAND_OVER), runLog(), until());
  t.after(() => incoming.close());
  for (const stranger of ['gamma', 'admin']) {
    const other = new RemoteDestination(linkTo(t, port, stranger));
    await assert.rejects(other.devices(), refusedAs('FORBIDDEN'));
  }
  const { port: both } = await listen(t, world, () => 'fine', ['alpha', 'gamma']);
  const gamma = new RemoteDestination(linkTo(t, both, 'gamma'));
  await gamma.devices();
  const cancel = { kind: 'cancel', handOver: HAND_OVER } as const;
  await assert.rejects(gamma.tell(cancel, until()), refusedAs('FORBIDDEN'));
  await assert.rejects(gamma.reserve(orderOf(HAND_OVER), runLog(), until()), refusedAs('FORBIDDEN'));
  await assert.rejects(
    gamma.undo({ vm: 'web', migration: HAND_OVER.id }, { kind: 'end-destination', host: 'beta' }),
    refusedAs('FORBIDDEN'),
  );
  const absent = { vm: 'web', nic: 'net0', network: 'lan' };
  await assert.rejects(gamma.answerUnreachable(absent, ['192.0.2.9']), refusedAs('FORBIDDEN'));
  assert.equal(world.state(), 'reserved');
});

test('another host at the address of a peer is not taken for it', async (t) => {
  const world = new World(t);
  const { port } = await listen(t, world, () => 'fine');
  const link = linkTo(t, port, 'alpha', 'gamma');
  await assert.rejects(
    new RemoteDestination(link).tell({ kind: 'ask', handOver: HAND_OVER }, AbortSignal.timeout(300)),
    (error) => {
      assert.ok(refusedAs('PEER_UNREACHABLE')(error));
      assert.match(String(error), /host "gamma".*not that of host "gamma"/);
      return true;
    },
  );
});

test('a daemon that does not answer is named, with where it was looked for', async (t) => {
  const link = linkTo(t, 1);
  await assert.rejects(link.call(PEER_API.peerClock, { params: {}, query: {} }), (error) => {
    assert.ok(refusedAs('PEER_UNREACHABLE')(error));
    assert.match(String(error), /host "beta" \(127\.0\.0\.1:1\).*ECONNREFUSED/);
    return true;
  });
});

test('the source says how far it is, from its journal', async (t) => {
  const world = new World(t);
  const { port, journal } = await listen(t, world, () => 'fine');
  const link = linkTo(t, port);
  const ask = async (id: string) =>
    (await link.call(PEER_API.peerOutgoing, { params: { id }, query: {} })).peer;
  assert.equal(await ask('m9'), 'over');
  const open = (id: string, destination: string, events: readonly Event[]) => {
    let state = initialState(false);
    journal.open({ id, vm: 'web', source: 'beta', destination, request: {}, state });
    for (const event of events) ({ state } = transition(state, event));
    journal.setState(id, state, 'so');
  };
  open('m10', 'alpha', ['ok']);
  assert.equal(await ask('m10'), 'before');
  open('m11', 'alpha', ['ok', 'failed']);
  assert.equal(await ask('m11'), 'over');
  open('m12', 'alpha', ['ok', 'ok', 'ok', 'ok', 'ok', 'committed']);
  assert.equal(await ask('m12'), 'source-gone');
  journal.close('m11', 'rolled-back', {});
  assert.equal(await ask('m11'), 'over');
  open('m13', 'gamma', ['ok']);
  await assert.rejects(ask('m13'), refusedAs('FORBIDDEN'));
});

test('what is no message of a peer is refused with a code, and changes nothing', async (t) => {
  const world = new World(t);
  const { port } = await listen(t, world, () => 'fine');
  const link = linkTo(t, port);
  const junk: unknown[] = [null, [], 'x', {}, { order: {} }, { message: { kind: 'reserve' } }, { nics: [1] }];
  for (const endpoint of Object.values(PEER_API)) {
    if (endpoint.method !== 'POST') continue;
    const loose = { ...endpoint, params: z.any(), query: z.any(), body: z.any(), answer: z.any() };
    for (const body of junk) {
      const input = { params: { id: 'm1' }, query: {}, body };
      await assert.rejects(link.call(loose, input), (error) => {
        assert.ok(
          error instanceof ShadowferryError && error.status >= 400 && error.status < 500,
          String(error),
        );
        return true;
      });
    }
  }
  assert.deepEqual(world.journal.openEntries(), []);
});

test('clocks that differ are put right', async (t) => {
  const world = new World(t);
  const { port } = await listen(t, world, () => 'fine');
  const link = linkTo(t, port);
  await link.warm(until());
  assert.ok(Math.abs(link.offsetMs) < 1_000);
  assert.ok(Math.abs(link.ours(1_000_000 + link.offsetMs) - 1_000_000) < 0.001);
});
