import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { DiskSpec } from '../hypervisor/qemu/spec.ts';
import { planMoves, targetPaths } from './checks.ts';
import type { DiskFacts, TargetFacts } from './model.ts';

const GIB = 1024 ** 3;

const from: DiskFacts = {
  ...{ id: 'root', path: '/a/root.raw', format: 'raw', virtualBytes: 8 * GIB },
  ...{ allocatedBytes: GIB, guestBlock: 512, changed: new Map([['m-1', 5]]), missing: [] },
};
const nothing: TargetFacts = {
  ...{ path: '/b/root.raw', what: 'nothing', freeBytes: 100 * GIB, fileSystem: '7' },
};
const left = { vm: 'web1', disk: 'root', migration: 'm-1', intact: true };
const device: TargetFacts = { path: '/dev/x', what: 'device', bytes: 8 * GIB, logicalBlock: 512 };

const plan = (target: TargetFacts, disk: Partial<DiskFacts> = {}) =>
  planMoves('web1', 'beta', [{ from: { ...from, ...disk }, target }]);

const cases: [string, string, TargetFacts, Partial<DiskFacts>?][] = [
  ['a place where the host keeps no disks', 'DISK_TARGET_REFUSED', { ...nothing, refused: 'no' }],
  ['a directory', 'DISK_TARGET_REFUSED', { path: '/b', what: 'other' }],
  ['an image that another QEMU writes', 'DISK_IN_USE', { ...device, inUse: 'it is mounted' }],
  ['a read-only device', 'DISK_READ_ONLY', { ...device, readOnly: 'the device is read-only' }],
  ['a file of somebody', 'DISK_TARGET_EXISTS', { ...nothing, what: 'file' }],
  [
    "another disk's old image",
    'DISK_TARGET_EXISTS',
    { ...nothing, what: 'file', leftBy: { ...left, disk: 'data' } },
  ],
  ['a smaller device', 'DISK_SIZE_DIFFERS', { ...device, bytes: 7 * GIB }],
  ['a larger device, which the guest would see', 'DISK_SIZE_DIFFERS', { ...device, bytes: 9 * GIB }],
  ['a device without room for the maps of a qcow2', 'DISK_SIZE_DIFFERS', device, { format: 'qcow2' }],
  ['blocks of 4 KiB under a guest that has 512', 'DISK_BLOCK_SIZE', { ...device, logicalBlock: 4096 }],
  ['a full file system', 'DISK_NO_ROOM', { ...nothing, freeBytes: GIB - 1 }],
];

for (const [name, code, target, disk] of cases) {
  test(`a disk does not go to ${name}`, () => {
    assert.throws(
      () => plan(target, disk),
      (error) => error instanceof ShadowferryError && error.code === code,
    );
  });
}

test('a disk goes to a new file, to a device of its size, and to the image that it left there', () => {
  assert.deepEqual(plan(nothing), {
    moves: [
      {
        from,
        to: {
          ...{ id: 'root', path: '/b/root.raw', format: 'raw' },
          ...{ at: 'file', replaces: false, virtualBytes: 8 * GIB },
        },
      },
    ],
    warnings: [],
  });
  assert.equal(plan(device).moves[0]?.to.at, 'device');
  assert.equal(plan({ ...device, logicalBlock: 4096 }, { guestBlock: 4096 }).moves.length, 1);
  const old: TargetFacts = { ...nothing, what: 'file', leftBy: left };
  assert.equal(plan(old).moves[0]?.to.replaces, true);
});

test('only what was written since goes back to an image that nobody else wrote to, if that is known', () => {
  const to = (leftBy: typeof left) => plan({ ...nothing, what: 'file', leftBy }).moves[0]?.to.since;
  assert.equal(to(left), 'm-1');
  assert.equal(to({ ...left, intact: false }), undefined);
  assert.equal(to({ ...left, migration: 'm-0' }), undefined);
});

test('disks that go to one file system share its room', () => {
  const two = (fileSystem: string) => [
    { from, target: { ...nothing, freeBytes: 1.5 * GIB } },
    { from: { ...from, id: 'data' }, target: { ...nothing, fileSystem, freeBytes: 1.5 * GIB } },
  ];
  assert.throws(() => planMoves('web1', 'beta', two('7')), { code: 'DISK_NO_ROOM' });
  assert.equal(planMoves('web1', 'beta', two('8')).moves.length, 2);
});

test('what can be copied all the same is told: an image whose base is gone, room that may run out', () => {
  const { warnings } = plan({ ...nothing, freeBytes: 2 * GIB }, { missing: ['/a/base.qcow2'] });
  assert.equal(warnings.length, 2);
  assert.match(warnings[0] ?? '', /base\.qcow2/);
  assert.match(warnings[1] ?? '', /can grow to 8 GiB/);
});

test('a disk goes where it is asked to, else to the path that it has', () => {
  const disks = [
    DiskSpec.parse({ id: 'root', path: '/a', format: 'raw', storage: 'moves' }),
    DiskSpec.parse({ id: 'data', path: '/b', format: 'raw', storage: 'moves' }),
    DiskSpec.parse({ id: 'iso', path: '/c', format: 'raw' }),
  ];
  assert.deepEqual(
    [...targetPaths('web1', disks, { data: '/x' })],
    [
      ['root', '/a'],
      ['data', '/x'],
    ],
  );
  assert.throws(() => targetPaths('web1', disks, { iso: '/x' }), { code: 'UNKNOWN_DISK' });
  assert.throws(() => targetPaths('web1', disks, { data: '/a' }), { code: 'DISK_TARGET_TWICE' });
});
