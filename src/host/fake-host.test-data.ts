/** A host on which nothing is made, for tests of what works with its directories and its QEMUs. */
import { join } from 'node:path';
import type { Host } from './host.ts';

export function fakeHost(directory: string): Host {
  return {
    ...{ name: 'beta', migrationAddress: '127.0.0.1', prefix: [] },
    qemu: { binary: 'none', accelerator: 'tcg' },
    vmDirectory: (vm) => join(directory, vm),
    devices: () => [],
    createTap: async () => {},
    removeTap: async () => {},
  };
}
