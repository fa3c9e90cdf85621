import assert from 'node:assert/strict';
import { test } from 'node:test';
import { qemuArgv } from './argv.ts';
import { channelPorts, type Placement, VmSpec } from './spec.ts';

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

test('each direct NIC has a port of its own, the same on both hosts; one that is not direct has none', () => {
  const direct = (id: string, n: number) => ({
    ...{ id, mac: `52:54:00:00:00:0${n}`, standby: 'none' },
    direct: { device: `nic${n}`, model: 'e1000e' },
  });
  const nics = [
    direct('net0', 1),
    { id: 'side', mac: '52:54:00:00:00:09', standby: 'virtio' },
    direct('net1', 2),
  ];
  const three = VmSpec.parse({ ...spec, nics });
  const ports = channelPorts(three, '/run/vm');
  assert.deepEqual(
    ports.map(({ nic, name, socket }) => [nic, name, socket]),
    [
      ['net0', 'org.shadowferry.0', '/run/vm/channel.sock'],
      ['net1', 'org.shadowferry.1', '/run/vm/channel1.sock'],
    ],
  );
  const argv = qemuArgv(three, { ...source, taps: {} });
  const numbers = argv.flatMap((word) => /^virtserialport,.*nr=(\d+)/.exec(word)?.[1] ?? []);
  assert.equal(new Set(numbers).size, numbers.length);
  const most = Number(/max_ports=(\d+)/.exec(argv.join(' '))?.[1]);
  assert.ok(
    numbers.every((nr) => Number(nr) > 0 && Number(nr) < most),
    `${numbers} of ${most}`,
  );
  const moved = {
    ...three,
    nics: three.nics.map((nic) => (nic.direct ? { ...nic, direct: { device: 'x', model: 'y' } } : nic)),
  };
  assert.deepEqual(channelPorts(moved, '/run/vm'), ports);
});

test('a VM with one direct NIC has as few ports as it had', () => {
  assert.match(qemuArgv(spec, source).join(' '), /max_ports=4/);
  assert.equal(channelPorts(spec, '/run/vm').length, 1);
});

test('commas in values are doubled, as QEMU wants them', () => {
  assert.ok(qemuArgv(spec, source).includes('name=opt/x,file=/tmp/a,,b'));
});

test('disks are nodes of their own, in slots that do not depend on the NICs', () => {
  const disks = [
    { id: 'root', path: '/d/a,b.qcow2', format: 'qcow2' },
    { id: 'data', path: '/d/data', format: 'raw' },
    { id: 'scsi', path: '/dev/sdx', format: 'raw', bus: 'virtio-scsi', at: 'device', storage: 'moves' },
  ];
  const argv = qemuArgv(VmSpec.parse({ ...spec, disks }), source);
  assert.deepEqual(
    argv.filter((_, i) => argv[i - 1] === '-blockdev'),
    [
      'driver=qcow2,node-name=disk-root,file.driver=file,file.filename=/d/a,,b.qcow2',
      'driver=raw,node-name=disk-data,file.driver=file,file.filename=/d/data',
      'driver=raw,node-name=disk-scsi,file.driver=host_device,file.filename=/dev/sdx,discard=unmap,file.discard=unmap',
      'driver=raw,node-name=top-scsi,file=disk-scsi,discard=unmap',
    ],
  );
  assert.ok(argv.includes('virtio-scsi-pci,id=scsi-scsi,bus=pcie.0,addr=0x7'));
  assert.ok(argv.includes('scsi-hd,id=blk-scsi,drive=top-scsi,bus=scsi-scsi.0'));
  assert.ok(argv.includes('virtio-blk-pci,id=blk-root,drive=disk-root,bus=pcie.0,addr=0x5'));
  assert.ok(argv.includes('virtio-blk-pci,id=blk-data,drive=disk-data,bus=pcie.0,addr=0x6'));
});
