import { setTimeout as delay } from 'node:timers/promises';
import { ShadowferryError } from '../../errors.ts';
import type { QmpWithEvents } from './client.ts';
import { deviceDel, qomList } from './commands.ts';
import type { QmpEvent } from './events.ts';

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 1000;

export interface Unplugged {
  /** From the request to the arrival of DEVICE_DELETED. */
  ms: number;
  /** QEMU had no such device to begin with. */
  alreadyGone: boolean;
}

/**
 * Asks the guest to release a device and waits until QEMU has removed it. The waiters are there before the
 * request, and `signal` is the one deadline. A guest still busy with an earlier request is asked again.
 * @throws GUEST_REFUSED_UNPLUG, UNPLUG_IGNORED when the signal aborts first (its own reason when that is a
 * cancellation), QMP_REFUSED when QEMU cannot unplug this device at all, QMP_CLOSED.
 */
export async function unplugDevice(
  qmp: QmpWithEvents,
  { id, signal }: { id: string; signal: AbortSignal },
): Promise<Unplugged> {
  const start = performance.now();
  const elapsed = () => Math.round(performance.now() - start);
  using deleted = qmp.waitFor((event) => event.name === 'DEVICE_DELETED' && isAbout(event, id), { signal });
  using refused = qmp.waitFor((event) => isRefusal(event) && isAbout(event, id), { signal });
  const refusal = refused.promise.then(() => {
    throw new ShadowferryError('GUEST_REFUSED_UNPLUG', { device: id });
  });
  const over = new AbortController(); // ends the requests once the guest has answered
  const requests = requestUntilAccepted(qmp, id, AbortSignal.any([signal, over.signal]));
  const gone = requests.then<'gone' | QmpEvent>((answer) => (answer === 'gone' ? answer : deleted.promise));
  try {
    // `deleted` by itself too: the event may outrun the reply.
    const result = await Promise.race([gone, deleted.promise, refusal]);
    return { ms: elapsed(), alreadyGone: result === 'gone' };
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    if (error instanceof ShadowferryError && error.kind === 'cancelled') throw error;
    throw new ShadowferryError('UNPLUG_IGNORED', { device: id, ms: elapsed() }, { cause: error });
  } finally {
    over.abort();
    for (const loose of [gone, refusal]) loose.catch(() => {});
  }
}

/** Sends `device_del` until QEMU takes it; resolves with `gone` when there is no such device. */
async function requestUntilAccepted(
  qmp: QmpWithEvents,
  id: string,
  signal: AbortSignal,
): Promise<'accepted' | 'gone'> {
  for (let pause = FIRST_RETRY_MS; ; pause = Math.min(pause * 2, LONGEST_RETRY_MS)) {
    try {
      await deviceDel(qmp, id, { signal });
      return 'accepted';
    } catch (error) {
      const answer = classify(error);
      if (answer === 'pending') return 'accepted';
      if (answer === 'absent' && !(await isPlugged(qmp, id, signal))) return 'gone';
      if (answer !== 'busy') throw error;
    }
    // No event tells when the guest stops being busy.
    await delay(pause, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

/** What a refused `device_del` means. QEMU has one error class for most of them, so the text decides. */
function classify(error: unknown): 'pending' | 'busy' | 'absent' | 'failure' {
  if (!(error instanceof ShadowferryError) || error.code !== 'QMP_REFUSED') return 'failure';
  const description = String(error.params.description);
  if (/already in the process of unplug/i.test(description)) return 'pending';
  if (/busy/i.test(description)) return 'busy';
  if (error.params.class === 'DeviceNotFound' || /device '.*' not found/i.test(description)) return 'absent';
  return 'failure';
}

async function isPlugged(qmp: QmpWithEvents, id: string, signal: AbortSignal): Promise<boolean> {
  const entries = await qomList(qmp, '/machine/peripheral', { signal });
  return entries.some(({ name }) => name === id);
}

/** MEM_UNPLUG_ERROR is what QEMU before 6.2 sends. */
function isRefusal({ name }: QmpEvent): boolean {
  return name === 'DEVICE_UNPLUG_GUEST_ERROR' || name === 'MEM_UNPLUG_ERROR';
}

/** An event names the device by id, or by path when it left out the id. */
function isAbout({ data }: QmpEvent, id: string): boolean {
  if (data.device !== undefined) return data.device === id;
  return data.path === `/machine/peripheral/${id}`;
}
