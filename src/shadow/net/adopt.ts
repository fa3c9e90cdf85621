/** Makes a running interface a shadow interface, or gives it back to its device, while nothing migrates. */
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import type { GuestShell } from '../../guest/shell.ts';
import type { GuestChannel, TimedEvent } from '../channel.ts';
import { loseDependents } from './dependents/fate.ts';
import { captureShadow, installProgram, removeProgram } from './guest.ts';
import { forgetPersisted } from './manager/persist.ts';
import type { DeviceIdentity, NetShadow, Outcome } from './model.ts';
import { planReplay } from './plan.ts';
import { noFindings } from './plan-draft.ts';
import type { OperationSet, ReplayPlan } from './plan-model.ts';
import { programFiles } from './program.ts';
import { type OperationResult, verify } from './verify.ts';

/** For the link to come back, ms, where something waits for it; some drivers need two seconds. */
const LINK_MS = 10_000;

/** For the removal of the program's files after a failure, ms. */
const LATE_MS = 5_000;

export interface AdoptOptions {
  agent: GuestShell;
  channel: GuestChannel;
  /** The direct device, which must be plugged. */
  identity: DeviceIdentity;
  /** PCI path of its standby in the guest, where the VM has one: it becomes a member of the shadow interface. */
  standbyPciPath?: string | undefined;
  /** Directory of the replay program in the guest, and its virtio-serial port. */
  dir: string;
  port: string;
  /** One deadline for all of it. */
  signal: AbortSignal;
}

export interface Adopted {
  /** False when it was as asked for already; then nothing was touched. */
  changed: boolean;
  before: NetShadow;
  after: NetShadow;
  /** What became of each attribute of `before`; those of a bond that was dissolved as asked are left out. */
  outcomes: Outcome[];
  warnings: readonly string[];
}

/**
 * Puts a shadow interface above the direct device, under the name, with the MAC and with all that the interface
 * carries. Connections live on; there is no traffic for as long as the device takes to see its link again.
 * @throws ShadowferryError CHANNEL_FAILED when the guest could not (it is as before then), those of the agent, DEADLINE.
 */
export async function adoptInterface(options: AdoptOptions): Promise<Adopted> {
  const before = await captureOf(options);
  // a failover of the kernel's own is a shadow interface already
  if (before.standIn.kind !== 'none') return unchanged(before);
  const plan = planReplay(before, { ...continuityOf(before), enslaveNow: true });
  return perform(options, before, plan, 'adopt');
}

/**
 * Takes the shadow interface away: the direct device gets its name back, with all that it carries. The device must be
 * plugged, and a bond counts as a shadow interface whoever made it. What `--persist` has written for it goes too.
 * @throws ShadowferryError as adoptInterface.
 */
export async function giveBackInterface(options: AdoptOptions): Promise<Adopted> {
  const before = await captureOf(options);
  if (before.standIn.kind !== 'bond') return unchanged(before);
  const plan = planReplay(before, continuityOf(before));
  const done = await perform(options, before, plan, 'giveback');
  // what would make it again at the next boot
  await forgetPersisted(options.agent, options.dir.slice(options.dir.lastIndexOf('/') + 1), options.signal);
  return { ...done, outcomes: done.outcomes.filter(({ key }) => !key.startsWith('bond.')) };
}

const captureOf = ({ agent, identity, standbyPciPath, signal }: AdoptOptions): Promise<NetShadow> =>
  captureShadow(agent, identity, standbyPciPath, signal);

const continuityOf = (shadow: NetShadow) =>
  ({ continuity: shadow.standby === undefined ? 'hold' : 'bridge' }) as const;

const unchanged = (shadow: NetShadow): Adopted => ({
  changed: false,
  before: shadow,
  after: shadow,
  outcomes: verify(shadow, shadow),
  warnings: [],
});

async function perform(
  options: AdoptOptions,
  before: NetShadow,
  plan: ReplayPlan,
  set: 'adopt' | 'giveback',
): Promise<Adopted> {
  const { agent, channel, dir, port, signal } = options;
  const results: OperationResult[] = [];
  const stop = channel.onEvent((event) => {
    if (event.e === 'op' && event.set === set)
      results.push({ id: event.id, rc: event.rc, stderr: event.err });
  });
  try {
    const ready = channel.waitFor((event) => event.e === 'ready', signal);
    const files = programFiles({ dir, port, destination: plan, source: plan });
    await installProgram(agent, { dir, files, modules: [], signal });
    await ready;
    const ended = channel.waitFor((event) => isEnd(event, set), signal);
    const linked = waitsForLink(plan)
      ? channel.waitFor(
          (event) => event.e === 'active',
          AbortSignal.any([signal, deadline('the link', LINK_MS)]),
        )
      : undefined;
    linked?.catch(() => {}); // without a link it is lost, which is seen and told below
    channel.send(set);
    const event = await ended;
    if (event.e === 'failed') throw new ShadowferryError('CHANNEL_FAILED', { why: event.err });
    await linked?.catch(() => {});
    await endProgram(options);
  } catch (error) {
    // what stopped us is what the caller must hear of
    await endProgram(options).catch(() =>
      removeProgram(agent, dir, deadline('the removal', LATE_MS)).catch(() => {}),
    );
    throw error;
  } finally {
    stop();
  }
  const after = await captureOf(options);
  const outcomes = verify(before, after, onlySet(plan, set, before), results);
  return { changed: true, before, after, outcomes, warnings: plan.warnings };
}

const waitsForLink = (plan: ReplayPlan): boolean =>
  plan.sets.attach.some(({ stage }) => stage === 'linked' || stage === 'noted');

const isEnd = (event: TimedEvent, set: OperationSet): boolean =>
  event.e === (set === 'adopt' ? 'adopted' : 'givenback') || (event.e === 'failed' && event.what === set);

/**
 * The device stayed, so what is foreseen for another one says nothing, but the index is another; `set` is all that was
 * replayed.
 */
function onlySet(plan: ReplayPlan, set: OperationSet, before: NetShadow) {
  const found = noFindings();
  loseDependents(before, found);
  return {
    losses: found.losses,
    adaptations: [],
    sets: { adopt: [], leave: [], attach: plan.sets[set], giveback: [] },
  };
}

async function endProgram({ agent, channel, dir, signal }: AdoptOptions): Promise<void> {
  const stopped = channel.waitFor((event) => event.e === 'stopped', signal);
  channel.send('stop');
  await stopped;
  await removeProgram(agent, dir, signal);
}
