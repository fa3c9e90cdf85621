import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { QemuCapabilities } from './capabilities.ts';
import { qemuChecks, qemuFailure } from './checks.ts';

const good: QemuCapabilities = {
  binary: 'qemu',
  version: { major: 7, minor: 2, micro: 22, package: '' },
  machines: [{ name: 'pc-q35-7.2', alias: 'q35' }],
  netModels: [{ name: 'e1000e' }, { name: 'vmxnet3' }],
  migrationCapabilities: ['events', 'pause-before-switchover', 'postcopy-ram', 'return-path'],
  postcopy: { supported: true, reason: 'QEMU accepts it on this host' },
  hasVfio: true,
  hasKvm: true,
};

function complaints(change: Partial<QemuCapabilities>, kind: 'kvm' | 'tcg' = 'kvm'): string[] {
  return qemuChecks({ ...good, ...change }, '/usr/bin/qemu', { kind, reason: 'so it is' })
    .filter(({ state }) => state !== 'ok')
    .map(({ name, state, detail }) => `${name}: ${state}: ${detail}`);
}

test('a QEMU that has everything is well', () => {
  assert.deepEqual(complaints({}), []);
});

test('TCG, no post-copy, no vfio and an old version are warnings: migrations work all the same', () => {
  assert.deepEqual(complaints({}, 'tcg'), ['accelerator: warn: tcg, so guests run more slowly: so it is']);
  assert.deepEqual(complaints({ postcopy: { supported: false, reason: 'Postcopy is not supported' } }), [
    'post-copy: warn: Postcopy is not supported: memory moves by pre-copy only',
  ]);
  assert.deepEqual(complaints({ hasVfio: false }), ['vfio: warn: it cannot pass real devices to guests']);
  const at = '6.2.0 at /usr/bin/qemu, older than any that was tried';
  assert.deepEqual(complaints({ version: { major: 6, minor: 2, micro: 0, package: '' } }), [
    `version: warn: ${at}`,
  ]);
  assert.deepEqual(complaints({ version: { major: 11, minor: 0, micro: 0, package: '' } }), []);
});

test('what no migration can do without is missing', () => {
  assert.deepEqual(
    complaints({
      machines: [{ name: 'pc' }],
      netModels: [{ name: 'e1000' }],
      migrationCapabilities: ['events'],
    }),
    [
      'machine: missing: it has no q35 machine',
      'migration: missing: it lacks pause-before-switchover, return-path',
      'NIC models: missing: 1, and a migration between models needs two',
    ],
  );
});

test('a QEMU that does not start is reported in its own words', () => {
  assert.equal(qemuFailure(new Error('no such library')).detail, 'no such library');
});
