/** What tests of disks that move share: a VM with two of them, and a migration that can be looked at from within. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { exec } from '../../src/base/exec.ts';
import type { DiskSpec } from '../../src/hypervisor/qemu/spec.ts';
import { hostOf, type Lab } from '../../src/lab/lab.ts';
import type { DestinationHost, Incoming } from '../../src/migration/destination/destination.ts';
import { LocalDestination } from '../../src/migration/destination/local-host.ts';
import { migrateVm, type Outcomes } from '../../src/migration/engine.ts';
import type { MigrationEvent } from '../../src/migration/events.ts';
import { type MigrationRequest, parseRequest } from '../../src/migration/request.ts';
import type { RunningVm } from '../../src/migration/vm.ts';

/** A disk with an ext4 file system (qcow2), and an empty one (raw), each 64 MiB, on host a; host b has none yet. */
export async function prepareDisks(lab: Lab): Promise<z.input<typeof DiskSpec>[]> {
  const [a, b] = [join(lab.directory, 'disks-a'), join(lab.directory, 'disks-b')];
  for (const directory of [a, b]) mkdirSync(directory);
  const plain = join(lab.directory, 'files.raw');
  await exec(['qemu-img', 'create', '-q', '-f', 'raw', plain, '64M']);
  await exec(['mkfs.ext4', '-q', '-F', plain]);
  const disk = (id: string, format: 'raw' | 'qcow2') => {
    return { id, format, path: join(a, `${id}.${format}`), storage: 'moves' as const };
  };
  const [files, data] = [disk('files', 'qcow2'), disk('data', 'raw')];
  await exec(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', plain, files.path]);
  await exec(['qemu-img', 'create', '-q', '-f', 'raw', data.path, '64M']);
  return [files, data];
}

export async function nodesOf(vm: RunningVm): Promise<string> {
  return JSON.stringify(await vm.qemu.monitor.execute('query-named-block-nodes', { flat: true }));
}

/** `target` with some of its methods replaced. */
function withMethods<T extends object>(target: T, methods: Partial<T>): T {
  return new Proxy(target, {
    get: (_, name) => {
      const value: unknown = Reflect.get(methods, name) ?? Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

interface Options {
  request?: Partial<MigrationRequest>;
  emit?: (event: MigrationEvent) => unknown;
  cancel?: AbortSignal;
  confirm?: () => Promise<void>;
  /** Called when the VM is the destination's and has not run there yet. */
  beforeStart?: () => Promise<void>;
  /** Replaces methods of the destination. */
  destination?: (real: DestinationHost) => Partial<DestinationHost>;
}

/** Moves the VM with its disks to the lab's other host. */
export function migrateDisks(lab: Lab, vm: RunningVm, options: Options = {}): Promise<Outcomes> {
  const to = vm.host.name === 'a' ? 'b' : 'a';
  const disks = Object.fromEntries(
    vm.qemu.spec.disks.map(({ id, format }) => [id, join(lab.directory, `disks-${to}`, `${id}.${format}`)]),
  );
  const { journal, ownership, abilities, shadows } = lab;
  const stores = { ownership, abilities, shadows };
  const real = new LocalDestination(hostOf(lab, to, 'destination'), stores);
  const { beforeStart = async () => {}, emit = () => {}, confirm } = options;
  const destination = withMethods<DestinationHost>(real, {
    async reserve(...args: Parameters<DestinationHost['reserve']>) {
      const incoming = await real.reserve(...args);
      return withMethods<Incoming>(incoming, {
        async allow(...about: Parameters<Incoming['allow']>) {
          await beforeStart();
          await incoming.allow(...about);
        },
      });
    },
    ...options.destination?.(real),
  });
  return migrateVm(parseRequest({ vm: 'web1', destination: to, disks, ...options.request }), {
    ...{ journal, ownership, abilities, shadows, source: vm, destination, confirm },
    emit: (event) => void emit(event),
    cancel: options.cancel ?? new AbortController().signal,
  });
}
