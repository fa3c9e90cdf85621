import assert from 'node:assert/strict';
import { test } from 'node:test';
import { qemuArgv } from './argv.ts';
import { layoutDifferences } from './layout.ts';
import { type Learned, tapsIn } from './learn.ts';
import { type Placement, VmSpec } from './spec.ts';

const SPEC = VmSpec.parse({
  ...{ name: 'web1', memoryMiB: 64, boot: { kernel: '/k' } },
  disks: [{ id: 'root', path: '/d', format: 'raw' }],
  nics: [
    { id: 'net0', mac: '52:54:00:00:00:01', direct: { device: 'nic0', model: 'e1000e' }, standby: 'virtio' },
  ],
});
const PLACEMENT: Placement = {
  ...{ binary: 'qemu', accelerator: 'tcg', directory: '/vms/web1', incoming: false },
  taps: { net0: { direct: 'sfd1', standby: 'sfs1' } },
};

/** What a QEMU with our command line says of itself. */
function ours(): Learned {
  const argv = qemuArgv(SPEC, PLACEMENT);
  const words = argv.filter((_, n) => argv[n - 1] === '-device').map((word) => word.split(','));
  const all = words.map(([driver = '', ...rest]) => ({
    driver,
    options: Object.fromEntries(
      rest.map((each): [string, string] => {
        const [key = '', value = ''] = each.split('=');
        return [key, value];
      }),
    ),
  }));
  return {
    ...{ name: 'web1', status: 'running', running: true, migrating: false, machine: 'pc-q35-7.2' },
    ...{ memoryMiB: 64, cpus: 1, cpu: 'qemu64', boot: { kernel: '/k', initrd: '', append: '' } },
    devices: all.map(({ driver, options }) => ({ id: options.id, driver, properties: options })),
    nics: [
      {
        device: 'dev-net0',
        driver: 'e1000e',
        mac: undefined,
        failover: false,
        port: 'rp-net0',
        backend: { id: 'net-net0', tap: 'sfd1' },
      },
      {
        device: 'sby-net0',
        driver: 'virtio-net-pci',
        mac: undefined,
        failover: false,
        port: 'rps-net0',
        backend: { id: 'netsby-net0', tap: 'sfs1' },
      },
    ],
    disks: [{ device: 'blk-root', node: 'disk-root', file: '/d', format: 'raw' }],
    rootSlots: [
      { slot: 0, id: '' },
      { slot: 0x1f, id: '' },
      ...all.flatMap(({ options: { addr, id = '' } }) =>
        addr === undefined ? [] : [{ slot: Number(addr), id }],
      ),
    ],
    sockets: new Map(),
    ports: new Map(),
  };
}

const differences = (learned: Learned) => layoutDifferences(learned, SPEC, PLACEMENT, new Set(['net0']));

test('one with our command line differs in nothing', () => {
  assert.deepEqual(differences(ours()), []);
});

test('each thing that differs is named', () => {
  const learned = ours();
  const device = (id: string) => learned.devices.find((each) => each.id === id);
  const changes: [string, Learned, RegExp][] = [
    [
      'a device less',
      { ...learned, devices: learned.devices.filter(({ id }) => id !== 'rp-net0') },
      /^it has no rp-net0 \(pcie-root-port\)$/,
    ],
    [
      'a device more',
      { ...learned, devices: [...learned.devices, { id: 'usb', driver: 'qemu-xhci', properties: {} }] },
      /^it has a device of its own, usb \(qemu-xhci\)$/,
    ],
    [
      'one without an id more',
      {
        ...learned,
        devices: [...learned.devices, { id: undefined, driver: 'virtio-rng-pci', properties: {} }],
      },
      /a virtio-rng-pci without an id/,
    ],
    [
      'another model',
      {
        ...learned,
        devices: learned.devices.map((each) => (each.id === 'dev-net0' ? { ...each, driver: 'igb' } : each)),
      },
      /^its dev-net0 is a igb, and not a e1000e$/,
    ],
    [
      'another number of ports',
      {
        ...learned,
        devices: learned.devices.map((each) =>
          each === device('vser0') ? { ...each, properties: { max_ports: 31 } } : each,
        ),
      },
      /^max_ports of its vser0 \(virtio-serial-pci\) is 31, and not 4$/,
    ],
    [
      'another slot',
      {
        ...learned,
        rootSlots: learned.rootSlots.map((each) => (each.id === 'blk-root' ? { ...each, slot: 9 } : each)),
      },
      /^its blk-root \(virtio-blk-pci\) is in PCI slot 9, and not 5$/,
    ],
    [
      'a device of the machine',
      { ...learned, rootSlots: [...learned.rootSlots, { slot: 2, id: '' }] },
      /PCI slot 2$/,
    ],
    [
      'another tap',
      {
        ...learned,
        nics: learned.nics.map((nic) =>
          nic.device === 'dev-net0' ? { ...nic, backend: { id: 'n', tap: 'tap7' } } : nic,
        ),
      },
      /^what is behind dev-net0 is the tap "tap7", and not the tap "sfd1"$/,
    ],
    [
      'another node',
      { ...learned, disks: [{ device: 'blk-root', node: '#block1', file: '/d', format: 'raw' }] },
      /^the node of its disk root is called "#block1"$/,
    ],
  ];
  for (const [what, changed, expected] of changes) {
    const found = differences(changed);
    assert.equal(found.length, 1, `${what}: ${found.join('; ')}`);
    assert.match(found[0] ?? '', expected);
  }
});

test('taps are read from the list that QEMU prints for people', () => {
  const text =
    'dev-net0: index=0,type=nic,model=e1000e,macaddr=52:54:00:00:00:01\r\n \\ net-net0: index=0,type=tap,ifname=sfd1,script=no,downscript=no\r\nu0: index=0,type=user,net=10.0.2.0\r\n';
  assert.deepEqual([...tapsIn(text)], [['net-net0', 'sfd1']]);
});
