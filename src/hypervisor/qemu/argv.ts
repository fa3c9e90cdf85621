/** The QEMU command line of a VM: pure, from a typed spec and a placement. */
import { deviceModel } from './device-model.ts';
import {
  channelPorts,
  type DiskSpec,
  diskIds,
  type NicSpec,
  nicIds,
  type Placement,
  type VmSpec,
  vmPaths,
  WATCH_PORT,
} from './spec.ts';

/** QEMU's option syntax doubles commas inside values. */
function value(text: string): string {
  return text.replaceAll(',', ',,');
}

function option(head: string, fields: Record<string, string | number | undefined>): string {
  const parts = Object.entries(fields).flatMap(([key, v]) =>
    v === undefined ? [] : [`${key}=${value(String(v))}`],
  );
  return [head, ...parts].join(',');
}

/** Arguments of `device_add` (and, flattened, of `-device`) for the direct device of a NIC. */
export function directDeviceProps(nic: NicSpec, model: string): Record<string, string> {
  const ids = nicIds(nic);
  const { driver, properties } = deviceModel(model);
  return {
    driver,
    ...properties,
    id: ids.directDevice,
    netdev: ids.directNetdev,
    mac: nic.mac,
    bus: ids.directPort,
    // an option ROM would add a RAM block that the destination's other model does not have
    romfile: '',
  };
}

export interface TapProps extends Record<string, string | number> {
  type: 'tap';
  id: string;
  ifname: string;
}

/** Arguments of `netdev_add` for a tap that exists already, and was made for as many queues as the model has. */
export function tapProps(id: string, tap: string, model?: string): TapProps {
  const queues = model === undefined ? 1 : deviceModel(model).queues;
  const more = queues === 1 ? {} : { queues };
  return { type: 'tap', id, ifname: tap, script: 'no', downscript: 'no', ...more };
}

function netdevArgument(id: string, tap: string, model?: string): string {
  const { type, ...fields } = tapProps(id, tap, model);
  return option(type, fields);
}

function nicArguments(nic: NicSpec, index: number, placement: Placement): string[] {
  const ids = nicIds(nic);
  const taps = placement.taps[nic.id];
  // ports exist from the start on both sides, so that the device keeps its PCI path wherever it goes
  const port = (id: string, n: number) => [
    '-device',
    option('pcie-root-port', {
      id,
      bus: 'pcie.0',
      chassis: n + 1,
      slot: n + 1,
      addr: `0x${(0x10 + n).toString(16)}`,
    }),
  ];
  const args = [...port(ids.directPort, index * 2), ...port(ids.standbyPort, index * 2 + 1)];
  if (nic.standby !== 'none' && taps?.standby !== undefined) {
    args.push('-netdev', netdevArgument(ids.standbyNetdev, taps.standby));
    const device = {
      id: ids.standbyDevice,
      netdev: ids.standbyNetdev,
      mac: nic.mac,
      bus: ids.standbyPort,
      romfile: '',
    };
    args.push(
      '-device',
      option('virtio-net-pci', { ...device, failover: nic.standby === 'failover' ? 'on' : undefined }),
    );
  }
  if (nic.direct !== undefined && taps?.direct !== undefined) {
    const { driver = nic.direct.model, ...fields } = directDeviceProps(nic, nic.direct.model);
    const netdev = netdevArgument(ids.directNetdev, taps.direct, nic.direct.model);
    args.push('-netdev', netdev, '-device', option(driver, fields));
  }
  return args;
}

function bootArguments({ boot: { kernel, initrd, append } }: VmSpec): string[] {
  if (kernel === '') return [];
  return ['-kernel', kernel, ...(initrd === undefined ? [] : ['-initrd', initrd]), '-append', append];
}

function diskArguments(disk: DiskSpec, index: number): string[] {
  const { node, top, device, controller } = diskIds(disk);
  const moves = disk.storage === 'moves';
  const driver = disk.at === 'device' ? 'host_device' : 'file';
  const file = { 'file.driver': driver, 'file.filename': disk.path };
  // what is zero takes no room when it has come over, nor what the guest discards
  const sparse = { discard: 'unmap' };
  const under = moves ? { ...sparse, 'file.discard': 'unmap' } : {};
  const place = { bus: 'pcie.0', addr: `0x${(0x5 + index).toString(16)}` };
  const drive = moves ? top : node;
  const args = ['-blockdev', option(`driver=${disk.format}`, { 'node-name': node, ...file, ...under })];
  if (moves) args.push('-blockdev', option('driver=raw', { 'node-name': top, file: node, ...sparse }));
  if (disk.bus === 'virtio-blk') {
    return [...args, '-device', option('virtio-blk-pci', { id: device, drive, ...place })];
  }
  // a controller for each, so that the slot says which disk it is, as with virtio-blk
  return [
    ...args,
    ...['-device', option('virtio-scsi-pci', { id: controller, ...place })],
    ...['-device', option('scsi-hd', { id: device, drive, bus: `${controller}.0` })],
  ];
}

/** The whole command line, program first. */
export function qemuArgv(spec: VmSpec, placement: Placement): [string, ...string[]] {
  const paths = vmPaths(placement.directory);
  const socket = (id: string, path: string) => [
    '-chardev',
    option('socket', { id, path, server: 'on', wait: 'off' }),
  ];
  const serialPort = (chardev: string, name: string, nr: number) => [
    '-device',
    option('virtserialport', { bus: 'vser0.0', nr, chardev, name, id: `port-${chardev}` }),
  ];
  const channels = channelPorts(spec, placement.directory);
  // as few as needed: number 0 is a console's, then the agent's, the watcher's and the channels
  const maxPorts = Math.max(4, 3 + channels.length);
  return [
    placement.binary,
    ...['-name', option(`guest=${value(spec.name)}`, { process: `sf-${spec.name}` })],
    ...['-machine', `${spec.machine},vmport=off`],
    ...['-accel', placement.accelerator],
    ...['-cpu', spec.cpu],
    ...['-smp', String(spec.cpus)],
    ...['-m', String(spec.memoryMiB)],
    '-nodefaults',
    '-no-user-config',
    ...['-display', 'none'],
    '-S',
    ...(placement.incoming ? ['-incoming', 'defer'] : []),
    ...bootArguments(spec),
    ...spec.firmwareFiles.flatMap((file) => [
      '-fw_cfg',
      option('', { name: file.name, file: file.path }).slice(1),
    ]),
    ...socket('mon0', paths.monitor),
    ...['-mon', 'chardev=mon0,mode=control'],
    ...['-chardev', option('file', { id: 'ser0', path: paths.serial, append: 'on' })],
    ...['-serial', 'chardev:ser0'],
    // by default it has 31 ports; loading their queues in post-copy costs a page request each, during the blackout
    ...['-device', `virtio-serial-pci,id=vser0,bus=pcie.0,addr=0x3,max_ports=${maxPorts}`],
    ...socket('agent0', paths.agent),
    ...serialPort('agent0', 'org.qemu.guest_agent.0', 1),
    ...channels.flatMap(({ chardev, name, nr, socket: path }) => [
      ...socket(chardev, path),
      ...serialPort(chardev, name, nr),
    ]),
    // with one direct NIC no more queues than without it
    ...socket('watch0', paths.watch),
    ...serialPort('watch0', WATCH_PORT, 3),
    ...['-device', 'virtio-rng-pci,bus=pcie.0,addr=0x4'],
    ...spec.disks.flatMap(diskArguments),
    ...spec.nics.flatMap((nic, index) => nicArguments(nic, index, placement)),
  ];
}
