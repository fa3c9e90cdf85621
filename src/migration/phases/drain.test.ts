import assert from 'node:assert/strict';
import { test } from 'node:test';
import { raceSignal } from '../../base/deadline.ts';
import { QmpClient } from '../../hypervisor/qmp/client.ts';
import { type FakeIo, FakeQmpPeer } from '../../hypervisor/qmp/fake-peer.ts';
import type { Incoming } from '../destination/destination.ts';
import { Timeline } from '../timeline.ts';
import { drain } from './drain.ts';

const RAM = {
  ...{ total: 100, duplicate: 0, normal: 0, 'normal-bytes': 0, 'dirty-pages-rate': 0 },
  ...{ 'dirty-sync-count': 1, mbps: 1, 'page-size': 4096 },
};

interface Source extends AsyncDisposable {
  peer: FakeQmpPeer;
  monitor: QmpClient;
  /** What `query-migrate` answers. */
  says: { status: string; transferred: number };
  /** Changes it, and tells so by an event. */
  becomes(status: string, io: FakeIo): void;
}

async function fakeSource(status: string): Promise<Source> {
  const peer = await FakeQmpPeer.start();
  const says = { status, transferred: 1 };
  peer.handle('query-migrate', (_, io) =>
    io.reply({ status: says.status, ram: { ...RAM, transferred: says.transferred, remaining: 10 } }),
  );
  const signal = AbortSignal.timeout(5000);
  const monitor = await QmpClient.connect({ path: peer.path, name: 'source', signal });
  return {
    ...{ peer, monitor, says },
    becomes(next, io) {
      says.status = next;
      io.event('MIGRATION', { status: next });
    },
    async [Symbol.asyncDispose]() {
      await monitor.close();
      await peer[Symbol.asyncDispose]();
    },
  };
}

/** A run with what `drain` uses of it. */
function runOn({ monitor }: Source, stallMs = 60_000) {
  const run = {
    ...{ source: { qemu: { monitor } }, request: { limits: { stallMs } } },
    ...{ timeline: new Timeline(), warnings: [] as string[], decisions: [], emit: () => {} },
  };
  return { run: run as never, warnings: run.warnings, timeline: run.timeline };
}

const incoming = (recover?: Incoming['recover'], gone = new Promise<string>(() => {})) =>
  ({ recover, gone }) as never;

test('memory that is whole needs no wait', async () => {
  await using source = await fakeSource('completed');
  assert.equal((await drain(runOn(source).run, incoming())).status, 'completed');
});

test('a broken post-copy is resumed where the destination listens anew, and tried again until that works', async () => {
  await using source = await fakeSource('postcopy-paused');
  let tries = 0;
  source.peer.handle('migrate', (command, io) => {
    assert.deepEqual(command.arguments, { uri: `tcp:192.0.2.1:${tries}`, resume: true });
    io.reply({});
    source.becomes('postcopy-recover', io);
    source.becomes('completed', io);
  });
  const { run, warnings, timeline } = runOn(source);
  const recover = async () => {
    tries += 1;
    if (tries === 1) throw new Error('no route to host');
    return `tcp:192.0.2.1:${tries}`;
  };
  assert.equal((await drain(run, incoming(recover))).status, 'completed');
  assert.match(warnings.join('\n'), /the link broke.*\n.*could not be resumed yet: no route to host/);
  assert.ok(timeline.marks.some(({ name }) => name === 'post-copy resumed'));
});

test('a post-copy that sends nothing is told that its link is dead', async () => {
  await using source = await fakeSource('postcopy-active');
  source.peer.handle('migrate-pause', (_, io) => {
    io.reply({});
    source.becomes('postcopy-paused', io);
  });
  source.peer.handle('migrate', (_, io) => {
    io.reply({});
    source.becomes('completed', io);
  });
  const { run, warnings } = runOn(source, 150);
  await drain(
    run,
    incoming(async () => 'tcp:192.0.2.1:1'),
  );
  assert.match(warnings.join('\n'), /nothing was sent for 150 ms in post-copy/);
});

test('where another daemon drives the destination, a broken post-copy is left to the recovery with it', async () => {
  await using source = await fakeSource('postcopy-paused');
  await assert.rejects(drain(runOn(source).run, incoming()), { code: 'MIGRATION_FAILED' });
});

for (const status of ['postcopy-active', 'postcopy-paused'])
  test(`a VM that ended on the destination is not waited for while the source is "${status}"`, async () => {
    await using source = await fakeSource(status);
    const gone = Promise.withResolvers<string>();
    const { run, warnings } = runOn(source);
    const drained = drain(
      run,
      incoming(async () => {
        throw new Error('its QEMU is gone');
      }, gone.promise),
    );
    setTimeout(() => gone.resolve('killed'), 50);
    const limit = AbortSignal.timeout(5000);
    await assert.rejects(raceSignal(drained, limit), /ended on the destination.*killed/s);
    assert.equal(
      warnings.some((text) => text.includes('the link broke')),
      status === 'postcopy-paused',
    );
  });
