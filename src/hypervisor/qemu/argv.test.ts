import assert from 'node:assert/strict';
import { test } from 'node:test';
import { qemuArgv } from './argv.ts';
import { type Placement, VmSpec } from './spec.ts';

const spec = VmSpec.parse({
  name: 'web1',
  memoryMiB: 256,
  boot: { kernel: '/k', initrd: '/i', append: 'console=ttyS0' },
  firmwareFiles: [{ name: 'opt/x', path: '/tmp/a,b' }],
  nics: [
    { id: 'net0', mac: '52:54:00:00:00:01', direct: { device: 'nic0', model: 'e1000e' }, standby: 'virtio' },
  ],
});
const source: Placement = {
  binary: 'qemu',
  accelerator: 'tcg',
  directory: '/run/vm',
  taps: { net0: { direct: 'td', standby: 'ts' } },
  incoming: false,
};

/** Every `-device` of a command line without what only a direct device adds. */
function stableDevices(argv: readonly string[]): string[] {
  return argv.filter((_, i) => argv[i - 1] === '-device').filter((device) => !device.includes('id=dev-'));
}

test('a direct device sits in its own root port and carries no option ROM', () => {
  assert.ok(
    qemuArgv(spec, source).includes(
      'e1000e,id=dev-net0,netdev=net-net0,mac=52:54:00:00:00:01,bus=rp-net0,romfile=',
    ),
  );
});

test('the destination has the same devices in the same places, without the direct one, and waits paused', () => {
  const destination = qemuArgv(spec, { ...source, incoming: true, taps: { net0: { standby: 'ts' } } });
  assert.deepEqual(stableDevices(destination), stableDevices(qemuArgv(spec, source)));
  assert.ok(!destination.some((word) => word.startsWith('e1000e')));
  assert.ok(destination.includes('-S') && destination.join(' ').includes('-incoming defer'));
});

test('commas in values are doubled, as QEMU wants them', () => {
  assert.ok(qemuArgv(spec, source).includes('name=opt/x,file=/tmp/a,,b'));
});

test('disks are nodes of their own, in slots that do not depend on the NICs', () => {
  const disks = [
    { id: 'root', path: '/d/a,b.qcow2', format: 'qcow2' as const },
    { id: 'data', path: '/d/data', format: 'raw' as const },
  ];
  const argv = qemuArgv({ ...spec, disks }, source);
  assert.deepEqual(
    argv.filter((_, i) => argv[i - 1] === '-blockdev'),
    [
      'driver=qcow2,node-name=disk-root,file.driver=file,file.filename=/d/a,,b.qcow2',
      'driver=raw,node-name=disk-data,file.driver=file,file.filename=/d/data',
    ],
  );
  assert.ok(argv.includes('virtio-blk-pci,id=blk-root,drive=disk-root,bus=pcie.0,addr=0x5'));
  assert.ok(argv.includes('virtio-blk-pci,id=blk-data,drive=disk-data,bus=pcie.0,addr=0x6'));
});
