/** Plugging a device into its PCI slot while the program in the guest waits for it; the program does the rest by itself. */
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { directDeviceProps } from '../hypervisor/qemu/argv.ts';
import { type NicSpec, nicIds } from '../hypervisor/qemu/spec.ts';
import { announceSelf, deviceAdd } from '../hypervisor/qmp/commands.ts';
import { unplugDevice } from '../hypervisor/qmp/unplug.ts';
import type { GuestChannel, TimedEvent } from '../shadow/channel.ts';
import type { Continuity } from '../shadow/net/plan-model.ts';
import type { OperationResult } from '../shadow/net/verify.ts';
import type { Replayed } from './destination/destination.ts';
import { waitAfter } from './run.ts';
import { channelOf, type RunningVm, setStandbyLink } from './vm.ts';

const MARKS: Partial<Record<TimedEvent['e'], string>> = {
  seen: 'guest sees the device',
  claimed: 'device has its name',
  carrier: 'device has carrier',
  active: 'traffic on the device',
  replayed: 'shadow replayed',
};

export interface ReplayOptions {
  channel: GuestChannel;
  /** Makes the device appear where the program waits for it. */
  plug: () => Promise<void>;
  /** Called once traffic is on the new device, while the program may still be at work. */
  onActive: () => Promise<void>;
  /** Longest wait for traffic on the new device, ms. */
  waitMs: number;
  /** Ends the wait early. */
  cancel?: AbortSignal;
  /** What is waited for, as a message says it. */
  what?: string;
  mark: (name: string, epochMs?: number) => void;
  /** Called when packets can reach the interface again. */
  onCarrier?: (() => void) | undefined;
}

/**
 * Makes a device appear once and waits until the program has replayed the shadow onto it and traffic is on it.
 * @throws ShadowferryError what `plug` throws, or DEADLINE when the device is not taken.
 */
export async function replayOnto(options: ReplayOptions): Promise<Replayed> {
  const { channel, mark } = options;
  const signal = deadline(options.what ?? 'traffic on the new device', options.waitMs, options.cancel);
  const results: OperationResult[] = [];
  const stop = channel.onEvent((event) => {
    const name = MARKS[event.e];
    if (name !== undefined) mark(name, event.arrivedMs);
    if (event.e === 'carrier') options.onCarrier?.();
    if (event.e === 'stage' && event.name === 'traffic')
      mark('addresses and routes are back', event.arrivedMs);
    if (event.e === 'op') results.push({ id: event.id, rc: event.rc, stderr: event.err, set: event.set });
  });
  try {
    const active = channel.waitFor((event) => event.e === 'active', signal);
    const done = channel.waitFor((event) => event.e === 'done', signal);
    await options.plug();
    mark('device plugged');
    await active;
    await options.onActive();
    await done;
    return { results };
  } finally {
    stop();
  }
}

export interface AttachOptions extends Pick<ReplayOptions, 'waitMs' | 'mark' | 'onCarrier'> {
  vm: RunningVm;
  nic: NicSpec;
  model: string;
  continuity: Continuity;
}

/**
 * Plugs the device once and waits until the shadow is replayed and traffic is on it.
 * @throws ShadowferryError QMP_REFUSED when QEMU does not take the device, DEADLINE when the guest does not.
 */
export function plugAndReplay(options: AttachOptions): Promise<Replayed> {
  const { vm, nic, model, waitMs, mark, onCarrier } = options;
  const { monitor } = vm.qemu;
  const id = nicIds(nic).directDevice;
  return replayOnto({
    channel: channelOf(vm, nic.id),
    what: `traffic on the new device of ${nic.id}`,
    waitMs,
    mark,
    onCarrier,
    plug: () => deviceAdd(monitor, { driver: model, ...directDeviceProps(nic, model), id }),
    onActive: async () => {
      // one MAC on one port: the standby's way must be shut before the switch hears it again
      if (options.continuity === 'bridge' && nic.standby === 'virtio')
        await setStandbyLink(vm, nic.id, false);
      await announceSelf(monitor, { interfaces: [id] });
    },
  });
}

/** Tries to attach until it works or the tries are used up; a device that the guest did not take is unplugged between. */
export async function attachWithRetries(
  options: AttachOptions & { tries: number; onRetry: (reason: string) => void },
): Promise<Replayed> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await plugAndReplay(options);
    } catch (error) {
      if (attempt >= options.tries) throw error;
      options.onRetry(`attach failed (${reasonOf(error)}), trying again`);
      if (error instanceof ShadowferryError && error.code === 'DEADLINE') {
        const signal = waitAfter('the unplug', options.waitMs);
        await unplugDevice(options.vm.qemu.monitor, { id: nicIds(options.nic).directDevice, signal });
      }
      await delay(200 * 2 ** attempt);
    }
  }
}
