/** What commands about one VM of the standing lab share: the lab, the VM, and that nobody else drives it. */
import { deadline } from '../base/deadline.ts';
import type { Lab } from '../lab/lab.ts';
import { openStandingLab } from '../lab/standing.ts';
import { lockVmSoon } from '../lab/vm-lock.ts';
import { refuseBusy } from '../migration/history.ts';
import { disconnectVm, type RunningVm } from '../migration/vm.ts';
import { fixedStateDirectory } from './options.ts';

const CONNECT_MS = 10_000;

/**
 * Runs `act` with a VM that nobody else drives, and lets go of it and of the lab afterwards.
 * @param check looks at the lab before anything is connected
 * @throws LAB_MISSING, UNKNOWN_VM, MIGRATION_BUSY, and what `check` and `act` throw
 */
export async function withVm(
  name: string,
  check: (lab: Lab) => void,
  act: (lab: Lab, vm: RunningVm) => Promise<void>,
): Promise<void> {
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    check(lab);
    // an unknown name must not become a file's; `find` says what is wrong with it
    const known = (await lab.ownership.read(name)) !== undefined;
    using _lock = known ? await lockVmSoon(lab.directory, name, 'drive') : undefined;
    refuseBusy(lab.journal, name);
    const vm = await lab.find(name, deadline(`connecting to VM "${name}"`, CONNECT_MS));
    try {
      await act(lab, vm);
    } finally {
      await disconnectVm(vm);
    }
  } finally {
    lab.close();
  }
}
