/** What was made of an interface is there after the guest's next boot too, where that was asked for (`--persist`). */
import { reasonOf } from '../errors.ts';
import type { GuestShell } from '../guest/shell.ts';
import { forgetPersisted, PERSIST_MS, persistInterface } from '../shadow/net/manager/persist.ts';
import type { NetShadow } from '../shadow/net/model.ts';
import { nicStepName, type RunLog, step, waitAfter, warn } from './run.ts';

/** What is told of a NIC whose device did not come: what its interface is to be after a boot cannot be said. */
export const withoutDevice = (nic: string): string =>
  `${nic}: nothing was written for the next boot, as it has no device`;

/**
 * Writes the network manager's own configuration for one NIC, as a step of settle. That it cannot be written is told, and
 * is no reason to call what went well degraded.
 * @param options.shadow as the new device has it
 * @returns the files that were written, by their paths in the guest
 */
export async function persistNic(
  run: RunLog,
  options: { shell: GuestShell; shadow: NetShadow; nic: string; several: boolean },
): Promise<string[]> {
  const { shell, shadow, nic, several } = options;
  const name = nicStepName("write the network manager's own configuration", nic, several);
  const undo = [{ kind: 'forget-persisted', nic } as const];
  try {
    return await step(run, 'settle', name, { undo }, async () => {
      const signal = waitAfter("writing the guest's network configuration", PERSIST_MS * 2);
      try {
        const { files, problems, notes } = await persistInterface(shell, { shadow, tag: nic, signal });
        for (const text of [...problems, ...notes]) warn(run, `${nic}: ${text}`);
        return files;
      } catch (error) {
        // it may have been cut off between two files
        await forgetPersisted(shell, nic, waitAfter('removing what was written', PERSIST_MS)).catch(() => {});
        throw error;
      }
    });
  } catch (error) {
    warn(run, `${nic}: nothing was written for the next boot: ${reasonOf(error)}`);
    return [];
  }
}
