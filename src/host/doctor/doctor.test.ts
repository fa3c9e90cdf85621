import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Check } from '../../base/check.ts';
import {
  type MachineFacts,
  machineChecks,
  memoryAvailable,
  passthroughChecks,
  readMachine,
} from './machine.ts';
import { batchResults, type NetworkFacts, networkChecks, type Trial, tryNetworks } from './network.ts';
import { TOOLS, toolChecks } from './tools.ts';

const GIB = 1024 ** 3;
const works: Trial = { works: true };
const no: Trial = { works: false, why: 'Operation not supported' };

const machine: MachineFacts = {
  nodeVersion: 'v24.21.0',
  cpus: 8,
  memoryAvailable: 16 * GIB,
  cache: { path: '/cache', free: 50 * GIB },
  iommuGroups: 12,
  kernelCommandLine: 'quiet intel_iommu=on',
  vfioPci: 'loaded',
};
const network: NetworkFacts = {
  root: true,
  usernsSettings: [],
  namespaces: works,
  tun: 'works',
  bridge: works,
  veth: works,
  tap: works,
  tbf: works,
  netem: works,
};

/** `name: state` of everything that is not well. */
function complaints(checks: readonly Check[]): string[] {
  for (const check of checks) assert.equal(check.fix === undefined, check.state === 'ok', check.name);
  return checks.filter(({ state }) => state !== 'ok').map(({ name, state }) => `${name}: ${state}`);
}

test('a good machine has nothing to complain about', () => {
  const all = new Map(TOOLS.map(({ name }) => [name, `/usr/bin/${name}`]));
  const checks = [
    ...machineChecks(machine),
    ...passthroughChecks(machine),
    ...networkChecks(network),
    ...toolChecks(all),
  ];
  assert.deepEqual(complaints(checks), []);
});

test('an old Node stops the demo; little memory, disk or processors only make it worse', () => {
  assert.deepEqual(complaints(machineChecks({ ...machine, nodeVersion: 'v20.20.2' })), ['Node: missing']);
  const poor = { ...machine, cpus: 1, memoryAvailable: GIB / 2, cache: { path: '/cache', free: GIB / 4 } };
  assert.deepEqual(complaints(machineChecks(poor)), ['processors: warn', 'memory: warn', 'disk: warn']);
});

test('real devices are not needed, and the advice fits what is set already', () => {
  const advice = (facts: Partial<MachineFacts>) =>
    passthroughChecks({ ...machine, iommuGroups: 0, ...facts }).find(({ name }) => name === 'IOMMU')?.fix;
  assert.equal(advice({}), 'Enable VT-d or AMD-Vi in the firmware.');
  assert.match(String(advice({ kernelCommandLine: 'quiet' })), /boot with intel_iommu=on/);
  assert.match(String(advice({ kernelCommandLine: 'x_intel_iommu=only' })), /boot with intel_iommu=on/);
  const none = passthroughChecks({ ...machine, iommuGroups: 0, vfioPci: 'absent' });
  assert.deepEqual(complaints(none), ['IOMMU: warn', 'vfio-pci: warn']);
});

test('a missing program is named with its package and purpose; one that can be done without is a warning', () => {
  const found = new Map(TOOLS.map(({ name }) => [name, name === 'tc' || name === 'nft' ? undefined : '/x']));
  const checks = toolChecks(found);
  assert.deepEqual(complaints(checks), ['tc: missing', 'nft: warn']);
  const tc = checks.find(({ name }) => name === 'tc');
  assert.equal(tc?.detail, 'not found; it limits the rate of lab links');
  assert.equal(tc?.fix, 'apt-get install --no-install-recommends iproute2');
});

test('without namespaces nothing else is judged, and the advice names the setting that forbids them', () => {
  const advice = (facts: Partial<NetworkFacts>) => {
    const checks = networkChecks({ ...network, namespaces: no, bridge: no, ...facts });
    assert.deepEqual(complaints(checks), ['namespaces: missing']);
    return checks[0]?.fix;
  };
  assert.match(String(advice({ root: true })), /--privileged/);
  assert.equal(advice({ root: false }), 'Run as root.');
  assert.equal(
    advice({ root: false, usernsSettings: ['user.max_user_namespaces=15000'] }),
    'Run as root, or as root: sysctl -w user.max_user_namespaces=15000',
  );
});

test('taps, bridges and veth pairs are needed; rates and delays are not', () => {
  assert.deepEqual(complaints(networkChecks({ ...network, bridge: no, veth: no, tap: no })), [
    'bridge: missing',
    'veth: missing',
    'tap: missing',
  ]);
  assert.deepEqual(complaints(networkChecks({ ...network, tun: 'refused', tap: no })), [
    'tun device: missing',
  ]);
  assert.deepEqual(complaints(networkChecks({ ...network, tun: 'absent', tap: no })), [
    'tun device: missing',
  ]);
  assert.deepEqual(complaints(networkChecks({ ...network, tbf: no, netem: no })), [
    'link rate: warn',
    'link delay: warn',
  ]);
});

test('a batch tells which of its lines failed, and why', () => {
  const stderr = [
    'Error: Specified qdisc kind is unknown.',
    'Command failed -:2',
    'RTNETLINK answers: Operation not permitted',
    'Command failed -:3',
    'Command failed -:4',
    '',
  ].join('\n');
  assert.deepEqual(batchResults(stderr, 4), [
    works,
    { works: false, why: 'Error: Specified qdisc kind is unknown.' },
    { works: false, why: 'RTNETLINK answers: Operation not permitted' },
    { works: false, why: 'it failed' },
  ]);
  assert.deepEqual(batchResults('', 2), [works, works]);
});

test('available memory is read in bytes', () => {
  assert.equal(memoryAvailable('MemTotal:  2 kB\nMemAvailable:   24117248 kB\n'), 24117248 * 1024);
  assert.equal(memoryAvailable(''), 0);
});

test('this machine can be read and tried without an error', async () => {
  const facts = readMachine('/nowhere/cache');
  assert.equal(facts.nodeVersion, process.version);
  assert.ok(facts.memoryAvailable > 0 && facts.cache.free > 0);
  assert.ok(networkChecks(await tryNetworks(AbortSignal.timeout(20_000))).length > 0);
});
