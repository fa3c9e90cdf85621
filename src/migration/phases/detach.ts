/** Detach: traffic leaves the direct devices, then the guest releases them. From here on stock QEMU may migrate. */
import { together } from '../../base/together.ts';
import { ShadowferryError } from '../../errors.ts';
import { nicIds } from '../../hypervisor/qemu/spec.ts';
import { unplugDevice } from '../../hypervisor/qmp/unplug.ts';
import type { GuestChannel } from '../../shadow/channel.ts';
import { startAnswering } from '../absence.ts';
import { nicMark, nicStep, type Run, waitBefore, warn } from '../run.ts';
import { channelOf } from '../vm.ts';
import type { NicStaged, Staged } from './stage.ts';

export interface LeaveOptions {
  channel: GuestChannel;
  signal: AbortSignal;
  mark: (name: string, epochMs?: number) => void;
  warn: (text: string) => void;
}

/** Tells the program to move traffic off the direct device, and waits until it has. @throws CHANNEL_FAILED, DEADLINE */
export async function moveTrafficOff({ channel, signal, mark, warn: tell }: LeaveOptions): Promise<void> {
  const left = channel.waitFor((event) => event.e === 'left' || event.e === 'failed', signal);
  channel.send('leave');
  mark('leave asked');
  const event = await left;
  if (event.e === 'failed')
    throw new ShadowferryError('CHANNEL_FAILED', { why: `${event.what}: ${event.err}` });
  mark('traffic left the device', event.arrivedMs);
  if (event.e === 'left' && event.failed > 0)
    tell(`${event.failed} of the steps that move traffic off the device failed; see the log in the guest`);
}

async function detachNic(run: Run, { move, plan, shadow }: NicStaged): Promise<void> {
  const { source } = run;
  const { nic } = move;
  const bridged = plan.continuity === 'bridge';
  // journalled as one: whatever of it was done, plugging and replaying again is the way back
  const undo = [
    { kind: 'stop-answering', nic: nic.id },
    { kind: 'reattach', nic: nic.id },
  ] as const;
  const options = { undo, critical: !bridged };
  await nicStep(run, move, 'detach', 'release and unplug the device', options, async () => {
    const channel = channelOf(source, nic.id);
    const signal = waitBefore(run, 'moving traffic off the device', run.request.limits.agentMs);
    await moveTrafficOff({
      channel,
      signal,
      mark: (name, at) => nicMark(run, move, name, at),
      warn: (text) => warn(run, run.nics.length > 1 ? `${nic.id}: ${text}` : text),
    });
    // while the guest is busy with the unplug
    if (!bridged) startAnswering(run, move, shadow);
    const limit = waitBefore(run, 'the unplug', run.request.limits.unplugMs);
    await unplugDevice(source.qemu.monitor, { id: nicIds(nic).directDevice, signal: limit });
    nicMark(run, move, 'device gone');
  });
}

/** Those with a standby first, as no traffic waits for them: the others are away for as short as can be. */
export async function detach(run: Run, staged: Staged): Promise<void> {
  run.journal.relax(); // from here until the attach traffic waits, or may
  const bridged = (nic: NicStaged) => nic.plan.continuity === 'bridge';
  await together(staged.nics.filter(bridged), (nic) => detachNic(run, nic));
  await together(
    staged.nics.filter((nic) => !bridged(nic)),
    (nic) => detachNic(run, nic),
  );
}
