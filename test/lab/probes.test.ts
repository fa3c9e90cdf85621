import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { ConnectionKind } from '../../src/lab/probe/messages.ts';
import { type ProbeOptions, type ProbeResult, startProbes, UNHURRIED } from '../../src/lab/probe/probes.ts';
import { GuestServices } from './guest-services.ts';

const QUIET_MS = 300;

/** Runs the probes against the stand-in while `during` happens, with some quiet time before and after. */
async function probed(
  during: (services: GuestServices) => Promise<void> | void,
  more: Partial<ProbeOptions> = {},
): Promise<ProbeResult> {
  await using services = await GuestServices.start();
  const probes = startProbes({
    enter: [],
    target: '127.0.0.1',
    icmp: false,
    ports: services.ports,
    finishMs: 2000,
    ...more,
  });
  try {
    await probes.ready;
    await delay(QUIET_MS);
    await during(services);
    await delay(QUIET_MS);
    return await probes.stop();
  } finally {
    probes.kill();
  }
}

function connection(result: ProbeResult, kind: ConnectionKind) {
  const found = result.connections.each.find((one) => one.kind === kind);
  assert.ok(found, `there is a result for ${kind}`);
  return found;
}

test('a guest that does nothing wrong is reported to have done nothing wrong', async () => {
  const before = performance.timeOrigin + performance.now();
  const result = await probed(() => delay(1000));
  const after = performance.timeOrigin + performance.now();
  assert.deepEqual(
    result.connections.each.map(({ kind }) => kind),
    ['echo', 'bulk-in', 'bulk-out', 'idle', 'request'],
  );
  const { opened, survived, outOfOrder, corrupt } = result.connections;
  assert.deepEqual(
    { opened, survived, outOfOrder, corrupt },
    { opened: 5, survived: 5, outOfOrder: 0, corrupt: 0 },
  );
  assert.ok(result.outageMs.tcp < 20 + result.lateMs.tcp, `${result.outageMs.tcp} ms`);
  assert.equal(result.outageMs.icmp, null);

  const { throughput } = result;
  const total = (field: 'echoes' | 'bytesIn' | 'bytesOut') =>
    throughput.reduce((sum, point) => sum + point[field], 0);
  assert.equal(total('echoes') * 64, connection(result, 'echo').bytes);
  assert.equal(total('bytesIn'), connection(result, 'bulk-in').bytes);
  assert.equal(total('bytesOut'), connection(result, 'bulk-out').bytes);
  assert.ok((throughput[0]?.atMs ?? 0) >= before && (throughput.at(-1)?.atMs ?? 0) <= after, 'epoch times');
  for (const [index, { atMs }] of throughput.entries()) {
    assert.equal(atMs, (throughput[0]?.atMs ?? 0) + 20 * index, 'no holes');
  }
  // 2 MB/s each for at least 1.6 s; the echo stream at about 500 a second.
  assert.ok(total('bytesIn') > 2_500_000 && total('bytesOut') > 2_500_000 && total('echoes') > 400);
});

test('probes that do not hurry ask seldom, and watch the same connections', async () => {
  const began = performance.now();
  const result = await probed(() => delay(500), UNHURRIED);
  const tookMs = performance.now() - began;
  assert.equal(result.connections.survived, 5);
  assert.equal(result.connections.outOfOrder + result.connections.corrupt, 0);
  const echoes = connection(result, 'echo').bytes / 64;
  assert.ok(echoes > 0 && echoes <= 1 + tookMs / UNHURRIED.everyMs, `${echoes} echoes in ${tookMs} ms`);
  assert.deepEqual(
    result.gaps.tcp.filter(({ ms }) => ms <= 10 * UNHURRIED.everyMs),
    [],
  );
});

test('a guest that stalls for 150 ms is reported to have stalled for 150 ms, at the right time', async () => {
  let atMs = 0;
  const result = await probed(async (services) => {
    atMs = performance.timeOrigin + performance.now();
    services.tell('stall 150');
    await delay(400);
  });
  const slack = 15 + result.lateMs.tcp;
  assert.ok(result.outageMs.tcp > 145 && result.outageMs.tcp < 150 + slack, `${result.outageMs.tcp} ms`);
  const gap = result.gaps.tcp.find(({ ms }) => ms > 145);
  assert.ok(gap?.ended);
  assert.ok(Math.abs(gap.startMs - atMs) < slack + 20, `began ${gap.startMs - atMs} ms after the command`);
  assert.equal(result.connections.survived, 5);
  assert.ok(connection(result, 'request').longestStallMs > 50);
  const silent = result.throughput.filter(
    ({ atMs: bucket, echoes }) => bucket > gap.startMs && bucket + 20 < gap.startMs + gap.ms && echoes === 0,
  );
  assert.ok(silent.length >= 5, 'the buckets within the gap are there, and empty');
});

test('a guest that changes bytes is reported, by connection', async () => {
  // Fast, so that what the kernel had buffered before is soon read.
  const result = await probed(
    async (services) => {
      services.tell('corrupt');
      await delay(500);
    },
    { bulkRate: 40_000_000 },
  );
  assert.equal(connection(result, 'echo').corrupt, 1);
  assert.equal(connection(result, 'bulk-in').corrupt, 1);
  assert.equal(connection(result, 'bulk-out').corrupt, 1);
  assert.equal(connection(result, 'idle').corrupt, 1);
  assert.equal(connection(result, 'request').corrupt, 1);
  assert.equal(result.connections.corrupt, 5);
  assert.equal(result.connections.survived, 5, 'the connections still work');
  assert.equal(result.connections.outOfOrder, 0);
});

test('a guest that exchanges two records is reported', async () => {
  const result = await probed((services) => services.tell('swap'));
  assert.equal(connection(result, 'echo').outOfOrder, 2, 'one came too early, one too late');
  assert.equal(result.connections.corrupt, 0);
  assert.equal(result.connections.survived, 5);
});

test('a guest that drops its connections is reported, and the outage has no end', async () => {
  const result = await probed((services) => services.tell('drop'));
  assert.equal(result.connections.opened, 5);
  assert.equal(result.connections.survived, 0);
  for (const { kind, error } of result.connections.each) assert.match(error ?? '', /ECONNRESET|closed/, kind);
  assert.equal(result.gaps.tcp.at(-1)?.ended, false);
  assert.ok(result.outageMs.tcp >= QUIET_MS - 10, `${result.outageMs.tcp} ms`);
});

test('a guest that falls silent for good is reported after the time that connections have to recover', async () => {
  const result = await probed((services) => services.tell('stall 60000'));
  assert.equal(connection(result, 'echo').survived, false);
  assert.equal(connection(result, 'request').survived, false);
  assert.match(connection(result, 'request').error ?? '', /within 2000 ms/);
  assert.ok(result.outageMs.tcp > 2000);
});

test('a guest that does not listen is an error that says so', async () => {
  const ports = { echo: 1, digest: 1, source: 1 };
  const probes = startProbes({ enter: [], target: '127.0.0.1', icmp: false, ports });
  await assert.rejects(probes.ready, { code: 'PROBE_FAILED', message: /ECONNREFUSED/ });
  await assert.rejects(probes.stop(), { code: 'PROBE_FAILED' });
});

test('probes that are aborted end, and say why', async () => {
  await using services = await GuestServices.start();
  const controller = new AbortController();
  const probes = startProbes({
    enter: [],
    target: '127.0.0.1',
    icmp: false,
    ports: services.ports,
    signal: controller.signal,
  });
  await probes.ready;
  controller.abort(new Error('enough'));
  await assert.rejects(probes.stop(), /enough/);
});
