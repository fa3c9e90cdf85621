/** The way to a VM of the lab for those who only look at it. */
import { existsSync } from 'node:fs';
import { ShadowferryError } from '../errors.ts';
import { openMigration, refuseBusy } from '../migration/history.ts';
import { disconnectVm } from '../migration/vm.ts';
import type { VmAccess } from '../observe/access.ts';
import { hostOf, type Lab } from './lab.ts';
import { holderOf, lockVm, lockVmSoon } from './vm-lock.ts';

export function labAccess(lab: Lab, vm: string): VmAccess {
  const owner = async () => {
    if (!existsSync(lab.directory)) throw new ShadowferryError('LAB_MISSING', { directory: lab.directory });
    const owned = await lab.ownership.read(vm);
    if (owned !== undefined) return owned.owner;
    const allowed = (await lab.ownership.list()).map((each) => each.vm).join(', ') || '(there is none)';
    throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: vm, allowed });
  };
  return {
    vm,
    async place() {
      const host = hostOf(lab, await owner(), 'host');
      return { host: host.name, directory: host.vmDirectory(vm) };
    },
    busy: () =>
      openMigration(lab.journal, vm) !== undefined || holderOf(lab.directory, vm)?.purpose === 'drive',
    async look(signal, act) {
      await owner();
      using _lock = await lockVmSoon(lab.directory, vm, 'look', signal);
      refuseBusy(lab.journal, vm);
      const running = await lab.find(vm, signal);
      try {
        return await act(running);
      } finally {
        await disconnectVm(running);
      }
    },
  };
}

/** Makes sure that a VM is watched by one process. @throws WATCHED_ALREADY */
export function lockWatch(lab: Lab, vm: string): Disposable {
  const name = `${vm}.watch`; // a VM's own name has no dot
  try {
    return lockVm(lab.directory, name);
  } catch (error) {
    const pid = holderOf(lab.directory, name)?.pid;
    if (pid === undefined) throw error;
    throw new ShadowferryError('WATCHED_ALREADY', { vm, pid }, { cause: error });
  }
}
