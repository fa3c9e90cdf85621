/** A host, a store and a registry for tests; its QEMUs are fake ones. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { z } from 'zod';
import type { Host, HostDevice } from '../../host/host.ts';
import { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { SqliteOwnership } from '../../ownership/sqlite.ts';
import { Definitions } from './definitions.ts';
import { FAKE_QEMU } from './fake-qemu.test-data.ts';
import { type RegistryOptions, VmRegistry } from './registry.ts';

export interface Bench {
  directory: string;
  host: Host;
  ownership: SqliteOwnership;
  /** Taps that are there. */
  taps: Set<string>;
  /** What was published, as `TYPE VM STATE`. */
  told: string[];
  /** Says what the fake QEMUs do beside answering. */
  obey: (what: string) => void;
  /** A registry as a daemon has it after a start; the one before lets go. */
  registry: (options?: Partial<RegistryOptions>) => Promise<VmRegistry>;
}

export const DEVICES: readonly HostDevice[] = [
  { id: 'nic0', kind: 'emulated-nic', model: 'e1000e', network: 'lan' },
  { id: 'nic1', kind: 'emulated-nic', model: 'igb', network: 'lan' },
];

const Recorded = z.object({ pid: z.number() });

/** A VM with one direct NIC and a standby. */
export function specOf(name: string, changes: Partial<z.input<typeof VmSpec>> = {}): VmSpec {
  return VmSpec.parse({
    ...{ name, memoryMiB: 64, boot: { kernel: '/boot/vmlinuz' } },
    nics: [
      {
        id: 'net0',
        mac: '52:54:00:5f:00:10',
        direct: { device: 'nic0', model: 'e1000e' },
        standby: 'virtio',
      },
    ],
    ...changes,
  });
}

/** Makes one in a directory of its own; what it started is ended after the test. */
export function makeBench(t: { after: TestContext['after'] }): Bench {
  const directory = mkdtempSync(join(tmpdir(), 'sf-vms-'));
  const vms = join(directory, 'vms');
  mkdirSync(vms);
  const taps = new Set<string>();
  const host: Host = {
    name: 'alpha',
    migrationAddress: '127.0.0.1',
    prefix: FAKE_QEMU,
    qemu: { binary: 'qemu', accelerator: 'tcg' },
    vmDirectory: (vm) => join(vms, vm),
    devices: () => DEVICES,
    createTap: async (tap) => void taps.add(tap),
    removeTap: async (tap) => void taps.delete(tap),
  };
  const ownership = new SqliteOwnership(join(directory, 'ownership.db'));
  const told: string[] = [];
  let close = async () => {};
  t.after(async () => {
    await close();
    ownership.close();
    for (const name of readdirSync(vms)) endRecorded(join(vms, name));
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    ...{ directory, host, ownership, taps, told },
    obey: (what) => writeFileSync(join(vms, 'obey'), what),
    registry: async (options = {}) => {
      await close();
      const definitions = new Definitions(join(directory, 'vms.db'));
      const publish = (type: string, { vm, state = '' }: Record<string, unknown>) =>
        void told.push(`${type} ${vm} ${state}`.trim());
      const registry = new VmRegistry({ host, ownership, definitions, publish, ...options });
      close = async () => {
        await registry.close();
        definitions.close();
      };
      await registry.recover();
      return registry;
    },
  };
}

function endRecorded(directory: string): void {
  try {
    process.kill(Recorded.parse(JSON.parse(readFileSync(join(directory, 'vm.json'), 'utf8'))).pid, 'SIGKILL');
  } catch {
    // it was never started, or has ended
  }
}
