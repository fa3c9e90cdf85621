/** The machine itself: Node, memory, room on disk, and what passing a real device to a guest needs. */
import { existsSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, release } from 'node:os';
import { dirname } from 'node:path';
import { type Check, checksOf } from '../../base/check.ts';
import { formatBytes } from '../../base/units.ts';

export interface MachineFacts {
  nodeVersion: string;
  cpus: number;
  /** Bytes that programs can still get. */
  memoryAvailable: number;
  /** Free bytes where images are kept, and where that is. */
  cache: { path: string; free: number };
  /** Number of IOMMU groups. */
  iommuGroups: number;
  kernelCommandLine: string;
  /** Whether the kernel has the vfio-pci driver. */
  vfioPci: 'loaded' | 'available' | 'absent';
}

const GIB = 1024 ** 3;
const OLDEST_NODE = 24;
/** Two guests of 256 MiB, two QEMUs, and this program. */
const MEMORY_NEEDED = 1.2 * GIB;
/** What the packages and the finished guest image take. */
const SPACE_NEEDED = 1 * GIB;

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function count(directory: string): number {
  try {
    return readdirSync(directory).length;
  } catch {
    return 0;
  }
}

/** `MemAvailable` in the text of /proc/meminfo, in bytes; 0 when it is not there. Pure. */
export function memoryAvailable(meminfo: string): number {
  return Number(/^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1] ?? 0) * 1024;
}

function vfioPci(): MachineFacts['vfioPci'] {
  if (existsSync('/sys/bus/pci/drivers/vfio-pci')) return 'loaded';
  const modules = `/lib/modules/${release()}`;
  const known = read(`${modules}/modules.dep`) + read(`${modules}/modules.builtin`);
  return /\/vfio-pci\.ko/.test(known) ? 'available' : 'absent';
}

/** Free bytes for ordinary users at `path`, or where it would be made. */
function freeAt(path: string): number {
  let at = path;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  const { bavail, bsize } = statfsSync(at);
  return bavail * bsize;
}

/** Reads the facts. `cacheDir` is where images will be kept; it need not exist. */
export function readMachine(cacheDir: string): MachineFacts {
  return {
    nodeVersion: process.version,
    cpus: availableParallelism(),
    memoryAvailable: memoryAvailable(read('/proc/meminfo')),
    cache: { path: cacheDir, free: freeAt(cacheDir) },
    iommuGroups: count('/sys/kernel/iommu_groups'),
    kernelCommandLine: read('/proc/cmdline').trim(),
    vfioPci: vfioPci(),
  };
}

/** Judges what every run needs. Pure. */
export function machineChecks(facts: MachineFacts): Check[] {
  const { ok, warn, missing } = checksOf('Machine');
  const { nodeVersion, cpus, cache } = facts;
  const memory = `${formatBytes(facts.memoryAvailable)} available`;
  const space = `${formatBytes(cache.free)} free at ${cache.path}`;
  return [
    Number.parseInt(nodeVersion.slice(1), 10) >= OLDEST_NODE
      ? ok('Node', nodeVersion)
      : missing('Node', nodeVersion, `Use Node ${OLDEST_NODE} or newer; "npm run …" brings its own.`),
    cpus >= 2
      ? ok('processors', String(cpus))
      : warn(
          'processors',
          '1: two VMs share it, so measured times are longer',
          'Give the machine two or more.',
        ),
    facts.memoryAvailable >= MEMORY_NEEDED
      ? ok('memory', memory)
      : warn('memory', `${memory}; the demo takes about ${formatBytes(MEMORY_NEEDED)}`, 'Free some memory.'),
    cache.free >= SPACE_NEEDED
      ? ok('disk', space)
      : warn(
          'disk',
          `${space}; the guest image takes up to ${formatBytes(SPACE_NEEDED)} while it is built`,
          'Free some space, or set SHADOWFERRY_CACHE to a directory with more.',
        ),
  ];
}

/** Judges whether real PCI devices could be passed to guests; the demo needs none of it. Pure. */
export function passthroughChecks(facts: MachineFacts): Check[] {
  const { ok, warn } = checksOf('Real devices');
  const enabled = /\b(intel_iommu|amd_iommu)=(on|force_enable)\b/.test(facts.kernelCommandLine);
  return [
    facts.iommuGroups > 0
      ? ok('IOMMU', `${facts.iommuGroups} groups`)
      : warn(
          'IOMMU',
          `no groups in /sys/kernel/iommu_groups${enabled ? ', although the kernel was told to use it' : ''}: only emulated devices can be given to guests`,
          enabled
            ? 'Enable VT-d or AMD-Vi in the firmware.'
            : 'Enable VT-d or AMD-Vi in the firmware and boot with intel_iommu=on (Intel).',
        ),
    facts.vfioPci === 'absent'
      ? warn('vfio-pci', 'this kernel has no such driver', 'Use a kernel with CONFIG_VFIO_PCI.')
      : ok('vfio-pci', facts.vfioPci === 'loaded' ? 'loaded' : 'available as a module'),
  ];
}
