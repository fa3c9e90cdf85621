import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Phase } from './machine.ts';
import type { Undo } from './undo.ts';
import { undoGroups } from './undo-order.ts';

const step = (name: string, phase: Phase, ...undo: Undo[]) => ({ name, phase, undo });
const reattach = (nic: string): Undo => ({ kind: 'reattach', nic });
const program = (nic: string): Undo => ({ kind: 'remove-program', nic });
const answering = (nic: string): Undo => ({ kind: 'stop-answering', nic });

const names = (groups: { name: string }[][][]) =>
  groups.map((chains) => chains.map((chain) => chain.map(({ name }) => name)));

test('the last step goes first, and the NICs of one phase go back at once', () => {
  const steps = [
    step('claim net0', 'reserve', { kind: 'release-device', host: 'b', device: 'nic0' }),
    step('claim net1', 'reserve', { kind: 'release-device', host: 'b', device: 'nic1' }),
    step('standby net0', 'stage', { kind: 'standby-link-down', nic: 'net0' }),
    step('capture net0', 'stage'),
    step('program net1', 'stage', program('net1')),
    step('program net0', 'stage', program('net0')),
    step('unplug net0', 'detach', answering('net0'), reattach('net0')),
    step('unplug net1', 'detach', answering('net1'), reattach('net1')),
    step('copy', 'copy', { kind: 'cancel-copy' }),
  ];
  assert.deepEqual(names(undoGroups(steps)), [
    [['copy']],
    [['unplug net1'], ['unplug net0']],
    [['program net0', 'standby net0'], ['program net1']],
    [['claim net1']],
    [['claim net0']],
  ]);
});

test('copies of disks are broken off first, whatever came after them: they may keep the guest waiting', () => {
  const steps = [
    step('image', 'reserve', { kind: 'remove-disk', host: 'b', path: '/d' }),
    step('disks', 'stage', { kind: 'stop-mirror', disk: 'root' }, { kind: 'stop-mirror', disk: 'data' }),
    step('program net0', 'stage', program('net0')),
    step('copy', 'copy', { kind: 'cancel-copy' }),
  ];
  assert.deepEqual(names(undoGroups(steps)), [[['disks']], [['copy']], [['program net0']], [['image']]]);
});

test('a step about two NICs, or about none, goes alone', () => {
  const steps = [
    step('one', 'detach', reattach('net0')),
    step('both', 'detach', reattach('net0'), reattach('net1')),
    step('other', 'detach', reattach('net1')),
  ];
  assert.deepEqual(names(undoGroups(steps)), [[['other']], [['both']], [['one']]]);
});
