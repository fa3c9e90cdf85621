/** The way to the QEMU that holds a volume. */
import { existsSync } from 'node:fs';
import { deadline } from '../../../base/deadline.ts';
import { errnoOf } from '../../../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../../../errors.ts';
import { QmpClient } from '../../../hypervisor/qmp/client.ts';
import { dialOnce } from '../../../hypervisor/qmp/dial.ts';
import type { QemuUse, Volume } from '../model.ts';
import { usersOf } from './users.ts';

/** A monitor that has another client answers nobody else; this long is waited for it, ms. */
const CONNECT_MS = 10_000;

/** Whether nobody listens at a monitor's socket any more. */
async function isSilent(path: string): Promise<boolean> {
  if (!existsSync(path)) return true;
  try {
    (await dialOnce(path, deadline('the monitor', CONNECT_MS))).destroy();
    return false;
  } catch (error) {
    return errnoOf(error) === 'ECONNREFUSED' || errnoOf(error) === 'ENOENT';
  }
}

/** Connects to the monitor of a volume's QEMU. @throws QMP_CLOSED, DEADLINE */
export function connectMonitor(use: QemuUse, name: string, signal: AbortSignal): Promise<QmpClient> {
  const soon = AbortSignal.any([signal, deadline('connecting to the monitor', CONNECT_MS)]);
  return QmpClient.connect({ path: use.monitor, name, signal: soon });
}

/**
 * Connects to the QEMU of a volume whose move a crash cut short; `gone` when it has ended for certain: nobody listens
 * at its monitor, and no other process has the pool open.
 * @throws POOL_MOVE_UNFINISHED when it is not certain
 */
export async function monitorAfterCrash(
  pool: string,
  volume: Volume,
  use: QemuUse,
  signal: AbortSignal,
): Promise<QmpClient | 'gone'> {
  const holder = volume.holder?.name ?? '';
  const unsure = (why: string, cause?: unknown) => {
    const params = { volume: volume.name, pool, holder, why, monitor: use.monitor };
    return new ShadowferryError('POOL_MOVE_UNFINISHED', params, { cause });
  };
  if (await isSilent(use.monitor)) {
    const pids = usersOf(pool);
    if (pids.length === 0) return 'gone';
    throw unsure(`nobody listens at its monitor, but process ${pids.join(', ')} has the pool open`);
  }
  try {
    return await connectMonitor(use, holder, signal);
  } catch (error) {
    throw unsure(reasonOf(error), error);
  }
}
