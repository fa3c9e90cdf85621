import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQemuOf, qemuOfDirectory } from './of-directory.ts';

const words = (directory: string) => [
  ...['/usr/bin/qemu-system-x86_64', '-S', '-chardev', `socket,id=mon0,path=${directory}/qmp.sock,server=on`],
  ...['-mon', 'chardev=mon0,mode=control'],
];

test('a QEMU is known by its monitor in the directory, and by nothing that only names it', () => {
  assert.ok(isQemuOf(words('/state/vms/web'), '/state/vms/web'));
  assert.ok(!isQemuOf(words('/state/vms/web2'), '/state/vms/web'));
  assert.ok(!isQemuOf(words('/state/vms/web'), '/state/vms/we'));
  assert.ok(!isQemuOf(['tail', '-f', '/state/vms/web/serial.log'], '/state/vms/web'));
  assert.ok(!isQemuOf(['socat', '-', 'UNIX:/state/vms/web/qmp.sock'], '/state/vms/web'));
  assert.ok(!isQemuOf([], '/state/vms/web'));
});

test('a directory that no QEMU has is of none', () => {
  assert.deepEqual(qemuOfDirectory('/nowhere/at/all'), []);
});
