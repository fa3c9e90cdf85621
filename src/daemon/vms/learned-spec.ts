/** The spec of a VM that ran before it was known: what it says of itself, and what the caller adds. Pure. */
import { ShadowferryError } from '../../errors.ts';
import type { Learned, LearnedNic } from '../../hypervisor/qemu/learn.ts';
import { type NicSpec, VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { AdoptOptions } from './adopt.ts';

export interface LearnedSpec {
  spec: VmSpec;
  /** What keeps the spec from being the whole VM. */
  missing: string[];
}

/** Our id of the NIC that a device is a part of, and which part. */
function partOf({ device, port }: LearnedNic): { id: string; part: 'direct' | 'standby' } | undefined {
  const match = /^(dev|sby)-([a-z][a-z0-9-]{0,11})$/.exec(device ?? '');
  const id = match?.[2];
  if (match === null || id === undefined) return undefined;
  const part = match[1] === 'dev' ? 'direct' : 'standby';
  return port === `${part === 'direct' ? 'rp' : 'rps'}-${id}` ? { id, part } : undefined;
}

const nameOf = ({ device, mac }: LearnedNic) => `${device ?? 'a NIC without an id'}${mac ? ` (${mac})` : ''}`;

function nicsFrom(learned: Learned, options: AdoptOptions): { nics: unknown[]; missing: string[] } {
  const missing: string[] = [];
  const nics = new Map<string, Partial<NicSpec> & { id: string }>();
  for (const nic of learned.nics) {
    const part = partOf(nic);
    if (part === undefined) {
      missing.push(
        `${nameOf(nic)} is not in a port of its own with the ids of ours, so that it cannot be exchanged`,
      );
      continue;
    }
    const { id } = part;
    const known = nics.get(id) ?? { id, network: options.networks[id] ?? 'lan', standby: 'none' as const };
    const device = options.devices[id];
    if (known.mac !== undefined && known.mac !== nic.mac)
      missing.push(`the two parts of ${id} differ in address`);
    if (part.part === 'direct' && device === undefined)
      missing.push(`it is not said which device of this host ${id} has ("devices": { "${id}": … })`);
    nics.set(id, {
      ...known,
      ...(nic.mac === undefined ? {} : { mac: nic.mac }),
      ...(part.part === 'standby'
        ? { standby: nic.failover ? ('failover' as const) : ('virtio' as const) }
        : {}),
      ...(part.part === 'direct' && device !== undefined
        ? { direct: { device, model: nic.driver ?? 'unknown' } }
        : {}),
    });
  }
  const whole = [...nics.values()].filter((nic) => nic.direct !== undefined || nic.standby !== 'none');
  return { nics: whole, missing };
}

function disksFrom({ disks }: Learned): { disks: unknown[]; missing: string[] } {
  const known = disks.flatMap(({ device, file, format, ours }) => {
    const id = /^blk-([a-z][a-z0-9-]{0,11})$/.exec(device)?.[1];
    return id !== undefined && (format === 'raw' || format === 'qcow2')
      ? [{ id, path: file, format, ...ours }]
      : [];
  });
  const missing = disks
    .filter(({ device }) => !known.some(({ id }) => `blk-${id}` === device))
    .map(({ device, file }) => `its disk ${file} (${device || 'without an id'}) is not built in as ours are`);
  return { disks: known, missing };
}

/** The CPU as it was asked for: QEMU tells the model alone. */
function cpuIn(words: readonly string[], learned: string): string {
  const at = words.indexOf('-cpu');
  return (at < 0 ? undefined : words[at + 1]) ?? learned;
}

/**
 * @param options with the words of its command line, which say what QEMU does not
 * @throws ADOPT_REFUSED for one that can have no spec: without a name, or with more memory than a spec knows
 */
export function specFrom(
  learned: Learned,
  options: AdoptOptions & { words: readonly string[] },
): LearnedSpec {
  const name = options.name ?? learned.name;
  const { nics, missing } = nicsFrom(learned, options);
  const found = disksFrom(learned);
  const { kernel, initrd, append } = learned.boot;
  const parsed = VmSpec.safeParse({
    ...{ name, memoryMiB: learned.memoryMiB, cpus: learned.cpus, machine: learned.machine },
    cpu: cpuIn(options.words, learned.cpu),
    boot: { kernel, ...(initrd === '' ? {} : { initrd }), append },
    ...{ firmwareFiles: options.firmwareFiles, disks: found.disks, nics, guest: options.guest },
  });
  if (parsed.success) return { spec: parsed.data, missing: [...missing, ...found.missing] };
  const [issue] = parsed.error.issues;
  const field = issue?.path.join('.') ?? 'it';
  const why =
    field === 'name'
      ? `it is called "${name ?? ''}", which is no name of a VM here (${issue?.message}): give it one`
      : `its ${field} fits no VM here: ${issue?.message}`;
  throw new ShadowferryError('ADOPT_REFUSED', { socket: options.socket, why });
}
