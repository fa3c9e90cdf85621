/** Whether a QEMU is built as ours are, so that its device state fits one that we start elsewhere. Pure. */
import { qemuArgv } from './argv.ts';
import type { Learned } from './learn.ts';
import { diskIds, nicIds, type Placement, type VmSpec } from './spec.ts';

interface WantedDevice {
  driver: string;
  id: string | undefined;
  options: ReadonlyMap<string, string>;
}

/** The devices of a command line of ours. */
function wantedDevices(argv: readonly string[]): WantedDevice[] {
  return argv.flatMap((word, n) => {
    if (argv[n - 1] !== '-device') return [];
    // none of ours has a comma in a value
    const [driver = '', ...rest] = word.split(',');
    const options = new Map(
      rest.map((each): [string, string] => {
        const at = each.indexOf('=');
        return [each.slice(0, at), each.slice(at + 1)];
      }),
    );
    return [{ driver, id: options.get('id'), options }];
  });
}

/** What the machine of QEMU has by itself, on the root bus. */
const BUILT_IN_SLOTS = [0x00, 0x1f];
const COMPARED = ['name', 'chardev', 'nr', 'max_ports'];

/**
 * What differs between a QEMU and the one that we would start for a spec, in words; nothing: it is built as ours are.
 * @param plugged ids of the NICs whose direct device is plugged now
 */
export function layoutDifferences(
  learned: Learned,
  spec: VmSpec,
  placement: Placement,
  plugged: ReadonlySet<string>,
): string[] {
  const taps = Object.fromEntries(
    spec.nics.map(({ id, standby }) => [
      id,
      { ...(plugged.has(id) ? { direct: 'x' } : {}), ...(standby === 'none' ? {} : { standby: 'x' }) },
    ]),
  );
  const wanted = wantedDevices(qemuArgv(spec, { ...placement, taps }));
  return [
    ...wanted.flatMap((device) => lacking(learned, device)),
    ...surplus(learned, wanted),
    ...wrongTaps(learned, spec, placement),
    ...wrongDisks(learned, spec),
  ];
}

function lacking(learned: Learned, { driver, id, options }: WantedDevice): string[] {
  const there = learned.devices.filter((each) =>
    id === undefined ? each.driver === driver : each.id === id,
  );
  const name = id === undefined ? driver : `${id} (${driver})`;
  const [found] = there;
  if (found === undefined) return [`it has no ${name}`];
  if (found.driver !== driver) return [`its ${id} is a ${found.driver}, and not a ${driver}`];
  const differing = COMPARED.filter((key) => {
    const [has, should] = [found.properties[key], options.get(key)];
    return has !== undefined && should !== undefined && String(has) !== should;
  });
  const address = options.get('addr');
  const slot = learned.rootSlots.find((each) => each.id === id)?.slot;
  const moved = id !== undefined && address !== undefined && slot !== undefined && slot !== Number(address);
  return [
    ...differing.map(
      (key) => `${key} of its ${name} is ${found.properties[key]}, and not ${options.get(key)}`,
    ),
    ...(moved ? [`its ${name} is in PCI slot ${slot}, and not ${Number(address)}`] : []),
  ];
}

function surplus(learned: Learned, wanted: readonly WantedDevice[]): string[] {
  const known = new Set(wanted.flatMap(({ id }) => id ?? []));
  const unnamed = wanted.flatMap(({ id, driver }) => (id === undefined ? [driver] : []));
  const devices = learned.devices.flatMap(({ id, driver }) => {
    if (id !== undefined) return known.has(id) ? [] : [`it has a device of its own, ${id} (${driver})`];
    const at = unnamed.indexOf(driver);
    if (at < 0) return [`it has a device of its own, a ${driver} without an id`];
    unnamed.splice(at, 1);
    return [];
  });
  const slots = new Set([
    ...BUILT_IN_SLOTS,
    ...wanted.map(({ options }) => Number(options.get('addr') ?? -1)),
  ]);
  const builtIn = learned.rootSlots.flatMap(({ slot, id }) =>
    id !== '' || slots.has(slot) ? [] : [`its machine has a device of its own in PCI slot ${slot}`],
  );
  return [...devices, ...builtIn];
}

/** Taps are found by their names, also after a crash. */
function wrongTaps({ nics }: Learned, spec: VmSpec, { taps }: Placement): string[] {
  return spec.nics.flatMap((nic) => {
    const ids = nicIds(nic);
    const parts = [
      [ids.directDevice, taps[nic.id]?.direct],
      [ids.standbyDevice, taps[nic.id]?.standby],
    ] as const;
    return parts.flatMap(([id, tap]) => {
      const backend = nics.find(({ device }) => device === id)?.backend;
      if (backend === undefined || tap === undefined || backend.tap === tap) return [];
      const has = backend.tap === undefined ? 'is no tap' : `is the tap "${backend.tap}"`;
      return [`what is behind ${id} ${has}, and not the tap "${tap}"`];
    });
  });
}

function wrongDisks({ disks }: Learned, spec: VmSpec): string[] {
  return disks.flatMap(({ device, node }) => {
    const disk = spec.disks.find(({ id }) => `blk-${id}` === device);
    if (disk === undefined) return [];
    const ids = diskIds(disk);
    if (node === (disk.storage === 'moves' ? ids.top : ids.node)) return [];
    return [`the node of its disk ${disk.id} is called "${node}"`];
  });
}
