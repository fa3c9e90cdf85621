/** `shadowferry devices list|learn`: the hosts' devices, what is known of them, and how more comes to be known. */
import type { Command } from 'commander';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import type { HostDevice } from '../host/host.ts';
import { modelIdentity } from '../hypervisor/qemu/pci.ts';
import { hostOf, LAB_HOSTS, type Lab } from '../lab/lab.ts';
import { learnDevice } from '../lab/learn.ts';
import { openStandingLab } from '../lab/standing.ts';
import type { DeviceAbilities } from '../shadow/net/model.ts';
import { fixedStateDirectory, print, say } from './options.ts';

const CHECK_MS = 30_000;
const MACHINE = 'q35';

/** What is known of a kind of device under one driver. */
export interface KnownUnder {
  driver: string;
  /** Version of the driver, where it has one of its own, and release of the guest's kernel. */
  version: string | null;
  /** Whether it is known what the driver begins with. */
  baseline: boolean;
}

export interface DeviceLine {
  host: string;
  id: string;
  model: string;
  network: string;
  pciId: string;
  /** VM that holds it. */
  claimedBy: string | null;
  known: KnownUnder[];
}

const knownUnder = ({ driver, version, defaults }: DeviceAbilities): KnownUnder => ({
  driver,
  version: version ?? null,
  baseline: defaults !== undefined,
});

async function devicesOf(lab: Lab): Promise<DeviceLine[]> {
  const all = await lab.abilities.all();
  const claims = await lab.ownership.claims();
  const signal = deadline('asking QEMU for its models', CHECK_MS);
  const lines: DeviceLine[] = [];
  for (const host of LAB_HOSTS.map((name) => lab.hosts[name])) {
    for (const { id, model, network } of host.devices()) {
      const { binary } = host.qemu;
      const { pciId } = await modelIdentity({ binary, machine: MACHINE, model, field: id, signal });
      const claimed = claims.find((claim) => claim.host === host.name && claim.device === id);
      const known = all.filter((each) => each.pciId === pciId).map(knownUnder);
      lines.push({ host: host.name, id, model, network, pciId, claimedBy: claimed?.vm ?? null, known });
    }
  }
  return lines;
}

/** What is known of the devices, for people. Pure. */
export function renderDevices(devices: readonly DeviceLine[]): string {
  const lines = devices.flatMap(({ host, id, model, network, pciId, claimedBy, known }) => [
    `${host} ${id}  ${model} (${pciId}) on ${network}, ${claimedBy === null ? 'free' : `held by ${claimedBy}`}`,
    ...(known.length === 0
      ? [`    nothing is known of it: "shadowferry devices learn ${host} ${id}" asks it`]
      : known.map(({ driver, version, baseline }) => {
          const begins = baseline ? 'and what it begins with' : 'but not what it begins with';
          return `    known under ${driver}${version === null ? '' : ` ${version}`}: what it can do, ${begins}`;
        })),
  ]);
  return `${lines.join('\n')}\n`;
}

/** @throws UNKNOWN_DEVICE naming those that there are */
function deviceOf(host: { name: string; devices(): readonly HostDevice[] }, id: string): HostDevice {
  const device = host.devices().find((each) => each.id === id);
  if (device !== undefined) return device;
  const allowed =
    host
      .devices()
      .map((each) => each.id)
      .join(', ') || '(there is none)';
  const where = `host "${host.name}"`;
  throw new ShadowferryError('UNKNOWN_DEVICE', { field: 'device', value: id, where, allowed });
}

async function withLab(act: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    await act(lab);
  } finally {
    lab.close();
  }
}

const list = (options: { json?: boolean }) =>
  withLab(async (lab) => {
    const devices = await devicesOf(lab);
    if (options.json) print(JSON.stringify({ type: 'devices', devices }));
    else process.stdout.write(renderDevices(devices));
  });

const learn = (hostName: string, id: string, options: { json?: boolean }) =>
  withLab(async (lab) => {
    const host = hostOf(lab, hostName, 'host');
    const device = deviceOf(host, id);
    say(`Booting a VM with ${id} (${device.model}) of host ${host.name}.`);
    const learned = await learnDevice(lab, host, device);
    const { pciId, driver, version = null, defaults = {} } = learned;
    if (options.json) {
      const known = { pciId, driver, version, abilities: learned };
      print(JSON.stringify({ type: 'learned', ok: true, host: host.name, device: id, ...known }));
      return;
    }
    const under = version === null ? driver : `${driver} ${version}`;
    const values = Object.keys(defaults).length;
    print(`${id} of host ${host.name} is ${pciId}, driven by ${under}: what it can do is known,`);
    print(`and what it begins with (${values} values). It holds for all devices of this kind.`);
  });

export function registerDevices(program: Command): void {
  const devices = program.command('devices').description("the hosts' devices and what is known of them");
  devices
    .command('list')
    .description('show every device, who holds it, and whether it is known what it can do')
    .option('--json', 'print one line of JSON')
    .action(list);
  devices
    .command('learn')
    .description('boot a small VM with a device that is free, and remember what it can do')
    .argument('<host>')
    .argument('<device>')
    .option('--json', 'print one line of JSON')
    .action(learn);
}
