/** Detach: traffic leaves the direct device, then the guest releases it. From here on stock QEMU may migrate. */
import { ShadowferryError } from '../../errors.ts';
import { nicIds } from '../../hypervisor/qemu/spec.ts';
import { unplugDevice } from '../../hypervisor/qmp/unplug.ts';
import type { GuestChannel } from '../../shadow/channel.ts';
import { startAnswering } from '../absence.ts';
import { type Run, step, waitBefore, warn } from '../run.ts';
import type { Staged } from './stage.ts';

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

export async function detach(run: Run, staged: Staged): Promise<void> {
  const { source, nic, timeline } = run;
  const bridged = staged.plan.continuity === 'bridge';
  await step(
    run,
    'detach',
    'release and unplug the device',
    // journalled as one: whatever of it was done, plugging and replaying again is the way back
    { undo: [{ kind: 'stop-answering' }, { kind: 'reattach', nic: nic.id }], critical: !bridged },
    async () => {
      run.journal.relax(); // from here until the attach traffic waits, or may
      const signal = waitBefore(run, 'moving traffic off the device', run.request.limits.agentMs);
      await moveTrafficOff({
        channel: source.channel,
        signal,
        mark: (name, at) => timeline.mark(name, at),
        warn: (text) => warn(run, text),
      });
      // while the guest is busy with the unplug
      if (!bridged) startAnswering(run, staged.shadow);
      const limit = waitBefore(run, 'the unplug', run.request.limits.unplugMs);
      await unplugDevice(source.qemu.monitor, { id: nicIds(nic).directDevice, signal: limit });
      timeline.mark('device gone');
    },
  );
}
