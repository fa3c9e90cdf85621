/** Attach: the destination plugs its devices into the same PCI slots; the programs in the guest do the rest by themselves. */
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../base/deadline.ts';
import { together } from '../../base/together.ts';
import { reasonOf, ShadowferryError, toShadowferryError } from '../../errors.ts';
import { directDeviceProps } from '../../hypervisor/qemu/argv.ts';
import { type NicSpec, nicIds } from '../../hypervisor/qemu/spec.ts';
import { announceSelf, deviceAdd } from '../../hypervisor/qmp/commands.ts';
import { unplugDevice } from '../../hypervisor/qmp/unplug.ts';
import type { GuestChannel, TimedEvent } from '../../shadow/channel.ts';
import type { Continuity } from '../../shadow/net/plan-model.ts';
import type { OperationResult } from '../../shadow/net/verify.ts';
import { stopAnswering } from '../absence.ts';
import { nicMark, nicStep, type Run, waitAfter, warn } from '../run.ts';
import { channelOf, type RunningVm, setStandbyLink } from '../vm.ts';
import type { NicStaged, Staged } from './stage.ts';

/** What the program in the guest said of its operations. */
export interface Replayed {
  results: OperationResult[];
}

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

/** What became of each NIC, by its id. */
export interface Attached {
  replayed: ReadonlyMap<string, Replayed>;
  failed: ReadonlyMap<string, ShadowferryError>;
}

function attachNic(run: Run, vm: RunningVm, { move, plan }: NicStaged): Promise<Replayed> {
  const { nic, target } = move;
  const { attachMs: waitMs, attachTries: tries } = run.request.limits;
  const { continuity } = plan;
  return nicStep(run, move, 'attach', 'plug and replay', { critical: continuity !== 'bridge' }, () =>
    attachWithRetries({
      vm,
      nic,
      model: target.model,
      continuity,
      waitMs,
      tries,
      mark: (name, at) => nicMark(run, move, name, at),
      onRetry: (reason) => warn(run, run.nics.length > 1 ? `${nic.id}: ${reason}` : reason),
      onCarrier: () => void stopAnswering(run, move).catch(() => {}), // and once more when all are there
    }),
  );
}

/**
 * Attaches every NIC's device, those first that traffic waits for. One that fails keeps no other away.
 */
export async function attach(run: Run, vm: RunningVm, { nics }: Staged): Promise<Attached> {
  const replayed = new Map<string, Replayed>();
  const failed = new Map<string, ShadowferryError>();
  const bridged = (nic: NicStaged) => nic.plan.continuity === 'bridge';
  for (const wave of [nics.filter((nic) => !bridged(nic)), nics.filter(bridged)]) {
    await together(wave, async (nic) => {
      const { id } = nic.move.nic;
      try {
        replayed.set(id, await attachNic(run, vm, nic));
      } catch (error) {
        failed.set(id, toShadowferryError(error));
      }
    });
  }
  return { replayed, failed };
}
