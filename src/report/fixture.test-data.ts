/** Reports for tests, as realistic as one machine under emulation gives them. Deterministic. */
import type { MigrationReport, ProgressSample, ThroughputSample } from './model.ts';

const TCP_GAPS = [
  { startMs: 668, ms: 22 },
  { startMs: 1203, ms: 9 },
  { startMs: 1462, ms: 96 },
  { startMs: 1803, ms: 17 },
];
const ICMP_GAPS = [
  { startMs: 664, ms: 26 },
  { startMs: 1458, ms: 108 },
  { startMs: 1805, ms: 14 },
];

/** Echo traffic every 10 ms, quiet in the gaps, with a burst after each long one. */
export function fixtureTraffic(
  fromMs: number,
  toMs: number,
  gaps = TCP_GAPS,
  copyMs = 905,
): ThroughputSample[] {
  const samples: ThroughputSample[] = [];
  let seed = 7;
  for (let atMs = fromMs; atMs <= toMs; atMs += 10) {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    const wobble = 0.8 + (0.4 * seed) / 2 ** 31;
    const silentMs = gaps.reduce((sum, gap) => {
      const from = Math.max(atMs - 10, gap.startMs);
      const to = Math.min(atMs, gap.startMs + gap.ms);
      return sum + Math.max(0, to - from);
    }, 0);
    const afterLong = gaps.some(
      (gap) => gap.ms > 50 && atMs - (gap.startMs + gap.ms) > 0 && atMs - (gap.startMs + gap.ms) <= 20,
    );
    const copying = atMs > copyMs && atMs < copyMs + 565 ? 0.72 : 1;
    const echoes = Math.round(25 * wobble * copying * (1 - silentMs / 10) * (afterLong ? 2.6 : 1));
    const sent = Math.round(25 * wobble * copying * (silentMs > 5 ? 0.25 : 1) * (afterLong ? 1.5 : 1));
    samples.push({ atMs, bytesIn: echoes * 1448, bytesOut: sent * 1448, echoes });
  }
  return samples;
}

function copyProgress(fromMs: number, toMs: number, bytes: number): ProgressSample[] {
  const samples: ProgressSample[] = [];
  const count = 24;
  for (let i = 0; i <= count; i += 1) {
    const part = i / count;
    const transferred = bytes * (1 - (1 - part) ** 1.3);
    const round = part > 0.72 ? (part - 0.72) * 0.25 : 0;
    samples.push({
      atMs: fromMs + (toMs - fromMs) * part,
      phase: 'copy',
      transferred,
      remaining: Math.max(0, bytes * (1 - part / 0.85)) + bytes * round * (1 - part),
      rateBps: 520e6 * (1 - part * 0.4),
      dirtyRateBps: 14e6 + 6e6 * Math.sin(part * 9),
    });
  }
  return samples;
}

const RESTORED: [string, string][] = [
  ['link.mtu', '1500'],
  ['link.txqueuelen', '1000'],
  ['link.up', 'true'],
  ['link.group', 'default'],
  ['link.alias', 'uplink of web1'],
  ['address.inet.10.77.0.21/24', 'scope global brd 10.77.0.255'],
  ['address.inet6.fd00:77::21/64', 'scope global'],
  ['address.inet6.fe80::5054:ff:fe77:21/64', 'scope link'],
  ['route.inet.default', 'via 10.77.0.1 proto static metric 100'],
  ['route.inet.10.90.0.0/16', 'via 10.77.0.9 table 90 mtu lock 1400'],
  ['route.inet6.default', 'via fd00:77::1 proto static metric 1024'],
  ['rule.inet.1000', 'from 10.77.0.21 lookup 90'],
  ['neighbour.inet.10.77.0.1', '52:54:00:77:00:01 permanent'],
  ['neighbour.inet.10.77.0.9', '52:54:00:77:00:09 reachable'],
  ['qdisc.root', 'fq_codel limit 10240p flows 1024 target 5ms interval 100ms ecn'],
  ['multicast.inet.224.0.0.251', 'users 1'],
  ['feature.rx-checksumming', 'on'],
  ['feature.tx-checksum-ip-generic', 'on'],
  ['feature.tcp-segmentation-offload', 'on'],
  ['feature.generic-receive-offload', 'on'],
  ['coalesce.rx-usecs', '3'],
  ['sysctl.ipv4/conf/{dev}/rp_filter', '2'],
  ['sysctl.ipv4/conf/{dev}/arp_ignore', '1'],
  ['sysctl.ipv6/conf/{dev}/accept_ra', '0'],
];

/** A migration that went well: bridge, e1000e to vmxnet3. */
export const FIXTURE: MigrationReport = {
  vm: 'web1',
  source: 'a',
  destination: 'b',
  from: { model: 'e1000e', driver: 'e1000e' },
  to: { model: 'vmxnet3', driver: 'vmxnet3' },
  continuity: 'bridge',
  strategy: 'pre-copy',
  strategyReason:
    'the link carries 256 MiB in about 0.6 s and the guest dirties 14 MiB/s, far below the rate of the link',
  ok: true,
  startedAtMs: Date.UTC(2026, 4, 18, 9, 41, 7, 312),
  totalMs: 1912,
  blackoutMs: 12,
  blackoutStartMs: 1511,
  outageMs: { tcp: 96, icmp: 108 },
  memoryBytes: 281_018_368,
  connections: {
    opened: 5,
    survived: 5,
    outOfOrder: 0,
    corrupt: 0,
    each: [
      { kind: 'echo stream, IPv4', survived: true, bytes: 7_340_032, longestStallMs: 96 },
      { kind: 'echo stream, IPv6', survived: true, bytes: 7_129_088, longestStallMs: 98 },
      { kind: 'upload', survived: true, bytes: 31_981_568, longestStallMs: 103 },
      { kind: 'download', survived: true, bytes: 28_422_144, longestStallMs: 97 },
      { kind: 'idle, keepalive only', survived: true, bytes: 312, longestStallMs: 0 },
    ],
  },
  phases: [
    { name: 'preflight', startMs: 0, durationMs: 118 },
    { name: 'reserve', startMs: 118, durationMs: 284 },
    { name: 'stage', startMs: 402, durationMs: 253 },
    { name: 'detach', startMs: 655, durationMs: 248 },
    { name: 'copy', startMs: 903, durationMs: 586 },
    { name: 'switchover', startMs: 1489, durationMs: 52 },
    { name: 'attach', startMs: 1541, durationMs: 304 },
    { name: 'settle', startMs: 1845, durationMs: 67 },
  ],
  steps: [
    { phase: 'preflight', name: 'ask both hosts', startMs: 0, durationMs: 41, critical: false },
    { phase: 'preflight', name: 'read the shadow', startMs: 41, durationMs: 58, critical: false },
    {
      phase: 'preflight',
      name: 'compile the replay plan',
      startMs: 99,
      durationMs: 19,
      critical: false,
      detail: '37 operations against the abilities of vmxnet3',
    },
    { phase: 'reserve', name: 'start QEMU, paused', startMs: 118, durationMs: 262, critical: false },
    { phase: 'reserve', name: 'claim device and ports', startMs: 380, durationMs: 22, critical: false },
    { phase: 'stage', name: 'ensure the shadow interface', startMs: 402, durationMs: 96, critical: false },
    { phase: 'stage', name: 'capture the shadow', startMs: 498, durationMs: 61, critical: false },
    {
      phase: 'stage',
      name: 'put plan and program into the guest',
      startMs: 559,
      durationMs: 96,
      critical: false,
    },
    { phase: 'detach', name: 'move traffic to the standby', startMs: 655, durationMs: 37, critical: true },
    {
      phase: 'detach',
      name: 'device_del',
      startMs: 692,
      durationMs: 211,
      critical: true,
      detail: 'until DEVICE_DELETED; ACPI unplug in the guest',
    },
    { phase: 'copy', name: 'memory, first round', startMs: 903, durationMs: 498, critical: true },
    { phase: 'copy', name: 'memory, dirty pages', startMs: 1401, durationMs: 88, critical: true },
    { phase: 'switchover', name: 'pre-switchover', startMs: 1489, durationMs: 14, critical: true },
    {
      phase: 'switchover',
      name: 'commit the ownership',
      startMs: 1503,
      durationMs: 8,
      critical: true,
      detail: 'compare-and-swap, epoch 3 to 4',
    },
    { phase: 'switchover', name: 'device state and cont', startMs: 1511, durationMs: 12, critical: true },
    { phase: 'switchover', name: 'announce', startMs: 1523, durationMs: 16, critical: false },
    { phase: 'attach', name: 'device found by the guest', startMs: 1541, durationMs: 87, critical: true },
    { phase: 'attach', name: 'replay: prepare, raise', startMs: 1628, durationMs: 74, critical: true },
    { phase: 'attach', name: 'wait for the carrier', startMs: 1702, durationMs: 101, critical: true },
    { phase: 'attach', name: 'move traffic to the device', startMs: 1803, durationMs: 19, critical: true },
    { phase: 'attach', name: 'verify against the shadow', startMs: 1822, durationMs: 23, critical: false },
    { phase: 'settle', name: 'announce from guest and host', startMs: 1845, durationMs: 24, critical: false },
    { phase: 'settle', name: 'clean up the source', startMs: 1869, durationMs: 43, critical: false },
  ],
  marks: [
    { name: 'guest left the device', atMs: 690 },
    { name: 'DEVICE_DELETED', atMs: 902, detail: 'device_del to event: 210 ms' },
    { name: 'pre-switchover', atMs: 1489 },
    { name: 'commit', atMs: 1510, detail: 'epoch 4, owner b' },
    { name: 'destination runs', atMs: 1523 },
    { name: 'device seen', atMs: 1611 },
    { name: 'device claimed', atMs: 1628, detail: '0000:01:00.0, driver vmxnet3' },
    { name: 'carrier', atMs: 1789 },
    { name: 'active', atMs: 1806 },
    { name: 'replayed', atMs: 1821, detail: '24 of 27 attributes verified' },
  ],
  gaps: { tcp: TCP_GAPS, icmp: ICMP_GAPS },
  throughput: fixtureTraffic(-400, 2600),
  progress: copyProgress(903, 1489, 281_018_368),
  shadow: {
    captured: 27,
    restored: RESTORED.map(([key, value]) => ({ key, value })),
    adapted: [
      { key: 'ring.rx', value: '256', now: '512', how: 'vmxnet3 has 512 at least' },
      { key: 'channels.combined', value: '1', now: '2', how: 'one queue per vCPU, set by the driver' },
    ],
    lost: [{ key: 'feature.rx-vlan-filter', value: 'off', why: 'fixed to on in vmxnet3' }],
  },
  nics: [],
  warnings: ['The destination has 31 MiB of memory to spare after the migration.'],
  host: { qemu: '7.2.22', accelerator: 'tcg', kernel: '6.1.0-37-amd64' },
  decisions: [
    {
      atMs: 12,
      action: 'continuity bridge',
      reason: 'the VM has a standby (virtio-net) and the guest has bonding',
    },
    {
      atMs: 101,
      action: 'strategy pre-copy',
      reason: 'estimated 0.6 s of copy at 14 MiB/s dirtied: converges in 2 rounds',
    },
    {
      atMs: 1401,
      action: 'switch over',
      reason: '6.1 MiB are left, 12 ms at the measured rate; the limit is 50 ms',
    },
  ],
};

/** The same VM after a long stage: the disk was mirrored for a minute, and the critical part is small. */
export const FIXTURE_LONG: MigrationReport = (() => {
  const later = 58_000;
  const shift = <T extends { startMs: number }>(item: T): T =>
    item.startMs >= 655 ? { ...item, startMs: item.startMs + later } : item;
  return {
    ...FIXTURE,
    totalMs: FIXTURE.totalMs + later,
    blackoutStartMs: 1511 + later,
    phases: FIXTURE.phases.map((phase) =>
      phase.name === 'stage' ? { ...phase, durationMs: phase.durationMs + later } : shift(phase),
    ),
    steps: [
      ...FIXTURE.steps.map(shift),
      { phase: 'stage' as const, name: 'mirror the disk', startMs: 655, durationMs: later, critical: false },
    ],
    marks: FIXTURE.marks.map((mark) => ({ ...mark, atMs: mark.atMs + later })),
    gaps: { tcp: TCP_GAPS.map(shift), icmp: ICMP_GAPS.map(shift) },
    throughput: fixtureTraffic(-400, later + 2600, TCP_GAPS.map(shift), 905 + later),
    progress: FIXTURE.progress.map((sample) => ({ ...sample, atMs: sample.atMs + later })),
  };
})();

/** A migration that failed in the copy: no phases after it, no blackout, no outage measured for ICMP. */
export const FIXTURE_FAILED: MigrationReport = {
  ...FIXTURE,
  ok: false,
  error: {
    code: 'MIGRATION_FAILED',
    message: 'the memory migration failed: Unable to write to socket: Connection reset by peer',
    fix: 'The VM runs on the source with its device; look at the reason and try again.',
  },
  totalMs: 1207,
  blackoutMs: 0,
  outageMs: { tcp: 22, icmp: null },
  memoryBytes: 140_000_000,
  phases: FIXTURE.phases.slice(0, 4).concat({ name: 'copy', startMs: 903, durationMs: 304 }),
  steps: FIXTURE.steps
    .filter((step) => step.startMs < 1000)
    .map((step) => ({ ...step, durationMs: Math.min(step.durationMs, 1207 - step.startMs) })),
  marks: FIXTURE.marks.slice(0, 2),
  gaps: { tcp: TCP_GAPS.slice(0, 1), icmp: [] },
  throughput: fixtureTraffic(-400, 1900, TCP_GAPS.slice(0, 1)),
  progress: FIXTURE.progress.slice(0, 11),
  shadow: {
    captured: 27,
    restored: RESTORED.slice(0, 8).map(([key, value]) => ({ key, value })),
    adapted: [],
    lost: [],
  },
  decisions: FIXTURE.decisions.slice(0, 2),
};

/** A migration after which the VM runs on the standby. */
export const FIXTURE_DEGRADED: MigrationReport = {
  ...FIXTURE,
  degraded: 'the device 0000:3b:02.1 did not appear in the guest within 5000 ms',
  totalMs: 6730,
  marks: FIXTURE.marks.slice(0, 5),
  phases: FIXTURE.phases.slice(0, 6).concat({ name: 'attach', startMs: 1541, durationMs: 5189 }),
  steps: FIXTURE.steps
    .filter((step) => step.startMs < 1541)
    .concat({
      phase: 'attach',
      name: 'wait for the device',
      startMs: 1541,
      durationMs: 5189,
      critical: true,
    }),
  throughput: fixtureTraffic(-400, 7400, TCP_GAPS.slice(0, 3)),
  gaps: { tcp: TCP_GAPS.slice(0, 3), icmp: ICMP_GAPS.slice(0, 2) },
  shadow: { captured: 27, restored: [], adapted: [], lost: FIXTURE.shadow.lost },
};
