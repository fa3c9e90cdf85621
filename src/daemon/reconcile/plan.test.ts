import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tapName } from '../../host/host.ts';
import { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { type Accounts, type Found, leftovers } from './plan.ts';

const spec = (name: string) =>
  VmSpec.parse({
    ...{ name, memoryMiB: 64, boot: { kernel: '/k' } },
    nics: [{ id: 'net0', mac: '52:54:00:00:00:01', standby: 'virtio' }],
  });

const NOTHING: Found = {
  ...{ host: 'beta', interfaces: [], directories: [], claims: [], records: new Map() },
};
const NOBODY: Accounts = { vms: [], migrating: new Set(), resting: new Set(), open: new Set() };
const told = (found: Partial<Found>, accounts: Partial<Accounts> = {}) =>
  leftovers({ ...NOTHING, ...found }, { ...NOBODY, ...accounts }).map(
    ({ what, name, action }) => `${action} ${what} ${name}`,
  );
const owned = (owner: string) => new Map([['web', { vm: 'web', owner, epoch: 2 }]]);

test('taps that no VM has go; what is not called as ours stays', () => {
  const mine = tapName('web', 'net0', 'standby');
  const old = tapName('old', 'net0', 'direct');
  const interfaces = ['eth0', 'sfd', 'sfdxyz', 'br0', mine, old];
  assert.deepEqual(told({ interfaces }, { vms: [spec('web')] }), [`remove tap ${old}`]);
  // one that a journal knows and nobody else: its taps cannot be told from others
  assert.deepEqual(told({ interfaces }, { vms: [spec('web')], migrating: new Set(['old']) }), []);
});

test('a directory without QEMU goes, unless the VM is here or a journal is about it', () => {
  const directories = [{ vm: 'web', qemu: 'none' as const }];
  assert.deepEqual(told({ directories }), ['remove directory web']);
  assert.deepEqual(told({ directories }, { vms: [spec('web')] }), []);
  assert.deepEqual(told({ directories }, { migrating: new Set(['web']) }), []);
  assert.deepEqual(told({ directories }, { resting: new Set(['web']) }), []);
});

test('a QEMU is ended only when it stands and another host owns the VM', () => {
  const qemu = (state: 'runs' | 'stands' | 'unknown') => [{ vm: 'web', qemu: state }];
  const records = owned('alpha');
  assert.deepEqual(told({ directories: qemu('stands'), records }), ['end qemu web']);
  assert.deepEqual(told({ directories: qemu('stands') }), ['end qemu web']);
  for (const state of ['runs', 'unknown'] as const)
    assert.deepEqual(told({ directories: qemu(state), records }), ['leave qemu web']);
  assert.deepEqual(told({ directories: qemu('stands'), records: owned('beta') }), ['leave qemu web']);
  assert.deepEqual(told({ directories: qemu('stands'), records: undefined }), ['leave qemu web']);
  const tap = tapName('web', 'net0', 'direct');
  const both = { directories: qemu('runs'), records, interfaces: [tap] };
  assert.deepEqual(told(both), ['leave qemu web']);
  assert.deepEqual(told(both, { migrating: new Set(['web']) }), []);
});

test('a claim of a migration that is over goes; those of VMs stay, and all while the store is silent', () => {
  const claim = { host: 'beta', device: 'nic0', vm: 'web', atMs: 1 };
  const claims = [{ ...claim, migration: 'm1' }];
  const records = owned('alpha');
  assert.deepEqual(told({ claims, records }), ['release claim nic0']);
  assert.deepEqual(told({ claims: [claim], records }), []);
  assert.deepEqual(told({ claims, records }, { open: new Set(['m1']) }), []);
  assert.deepEqual(told({ claims, records: owned('beta') }), []);
  assert.deepEqual(told({ claims, records: undefined }), []);
});
