/** What sysfs says: which interface is the device, what stands above it, which one is the standby. Pure. */

import { notACapture, type Report, type Section } from './capture-text.ts';
import type { DeviceIdentity, Hardware, StandbyInterface, StandIn } from './model.ts';

/** The values of one key can be several (`lower`). */
type Facts = Map<string, string[]>;

/** Facts of interfaces by name. */
export type Sysfs = Map<string, Facts>;

/** Knobs of sysfs with the value they have when nobody touched them; those of the direct device are replayed. */
const KNOBS: Record<string, string> = { threaded: '0', gro_flush_timeout: '0', napi_defer_hard_irqs: '0' };

/** State of a bond rather than configuration. */
const BOND_STATE =
  /^(slaves|active_slave|mii_status|ad_(aggregator|num_ports|actor_key|partner_.*)|queue_id)$/;

const PCI_PATH = /[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/g;

/** Reads lines `INTERFACE KEY VALUE`. */
export function parseSysfs(section: Section | undefined, report: Report): Sysfs {
  const sysfs: Sysfs = new Map();
  for (const line of section?.lines ?? []) {
    const match = /^(\S+) (\S+) (.*)$/.exec(line);
    const [name, key, value] = match?.slice(1) ?? [];
    if (name === undefined || key === undefined || value === undefined) {
      if (line !== '') report('sysfs', line);
      continue;
    }
    const facts: Facts = sysfs.get(name) ?? new Map<string, string[]>();
    facts.set(key, [...(facts.get(key) ?? []), value]);
    sysfs.set(name, facts);
  }
  return sysfs;
}

/** The first value of a fact. */
export function factOf(sysfs: Sysfs, name: string, key: string): string | undefined {
  return sysfs.get(name)?.get(key)?.[0];
}

function factsOf(sysfs: Sysfs, name: string, key: string): string[] {
  return sysfs.get(name)?.get(key) ?? [];
}

function pciPathOf(sysfs: Sysfs, name: string): string | undefined {
  return factOf(sysfs, name, 'device')?.match(PCI_PATH)?.at(-1);
}

/**
 * The direct device itself.
 * @throws ShadowferryError GUEST_COMMAND_FAILED when sysfs does not name its driver or PCI ids.
 */
export function hardwareOf(sysfs: Sysfs, name: string, identity: DeviceIdentity): Hardware {
  const hex = (key: string) => /^0x([0-9a-f]{4})$/.exec(factOf(sysfs, name, key) ?? '')?.[1];
  const [vendor, device] = [hex('pci/vendor'), hex('pci/device')];
  if (vendor === undefined || device === undefined) throw notACapture(`no PCI ids for interface "${name}"`);
  const version = factOf(sysfs, name, 'driver-version');
  const kernel = factOf(sysfs, name, 'kernel');
  const boot = factOf(sysfs, name, 'boot');
  return {
    ...identity,
    name,
    driver: factOf(sysfs, name, 'driver') ?? 'none',
    ...(version === undefined ? {} : { driverVersion: version }),
    ...(kernel === undefined ? {} : { kernel }),
    ...(boot === undefined ? {} : { boot }),
    pciId: `${vendor}:${device}`,
  };
}

/** The kernel object above the direct device, judged by the interface that carries the addresses. */
export function standInOf(sysfs: Sysfs, carrying: string, device: string | undefined): StandIn {
  const members = factsOf(sysfs, carrying, 'lower');
  if (factsOf(sysfs, carrying, 'is').includes('bonding')) {
    const options: Record<string, string> = {};
    for (const [key, [value]] of sysfs.get(carrying) ?? []) {
      const option = key.startsWith('bonding/') ? key.slice('bonding/'.length) : undefined;
      if (option === undefined || value === undefined || BOND_STATE.test(option)) continue;
      options[option] = value.replace(/^([a-z][\w+-]*) \d+$/, '$1'); // `active-backup 1`: the word says it
    }
    const active = factOf(sysfs, carrying, 'bonding/active_slave');
    return { kind: 'bond', name: carrying, members, ...(active ? { active } : {}), options };
  }
  if (carrying !== device && factOf(sysfs, carrying, 'driver') === 'virtio_net') {
    const standby = members.find((name) => name !== device && isVirtio(sysfs, name));
    return { kind: 'failover', name: carrying, ...(standby === undefined ? {} : { standby }) };
  }
  return { kind: 'none' };
}

function isVirtio(sysfs: Sysfs, name: string): boolean {
  return factOf(sysfs, name, 'driver') === 'virtio_net';
}

/** How the standby is known: by what the VM was given, or else as the other virtio member of the shadow interface. */
export interface StandbyHint {
  standbyMac?: string | undefined;
  standbyPciPath?: string | undefined;
}

/** The standby's interface, where there is one. */
export function standbyOf(
  sysfs: Sysfs,
  standIn: StandIn,
  device: string | undefined,
  hint: StandbyHint,
): StandbyInterface | undefined {
  const members = standIn.kind === 'none' ? [] : factsOf(sysfs, standIn.name, 'lower');
  const candidates: StandbyInterface[] = [];
  for (const name of sysfs.keys()) {
    const pciPath = pciPathOf(sysfs, name);
    // The master of a failover shares the standby's PCI function and MAC.
    const isMaster = standIn.kind !== 'none' && name === standIn.name;
    if (name === device || isMaster || pciPath === undefined) continue;
    const mac = factOf(sysfs, name, 'bonding_slave/perm_hwaddr') ?? factOf(sysfs, name, 'address') ?? '';
    candidates.push({ name, mac, pciPath, driver: factOf(sysfs, name, 'driver') ?? 'none' });
  }
  const { standbyMac, standbyPciPath } = hint;
  if (standbyMac === undefined && standbyPciPath === undefined) {
    return candidates.find(({ name, driver }) => members.includes(name) && driver === 'virtio_net');
  }
  return candidates.find(
    ({ mac, pciPath }) =>
      (standbyMac === undefined || mac === standbyMac) &&
      (standbyPciPath === undefined || pciPath === standbyPciPath),
  );
}

/** Reports what sysfs shows of the two interfaces and a replay does not carry over; `uppers` it does. */
export function reportSysfs(
  sysfs: Sysfs,
  carrying: string,
  device: string | undefined,
  uppers: ReadonlySet<string>,
  report: Report,
): void {
  if (carrying !== device) {
    for (const [knob, untouched] of Object.entries(KNOBS)) {
      const value = factOf(sysfs, carrying, knob);
      if (value !== undefined && value !== untouched) report('sysfs', `${carrying}/${knob}=${value}`);
    }
  }
  for (const upper of factsOf(sysfs, carrying, 'upper')) {
    if (upper !== factOf(sysfs, carrying, 'master') && !uppers.has(upper)) report('upper', upper);
  }
}
