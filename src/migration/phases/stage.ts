/** Stage: all that can be done before the devices leave. The shadows are captured last. */
import { together } from '../../base/together.ts';
import { migrateSetCapabilities, migrateSetParameters } from '../../hypervisor/qmp/commands.ts';
import { optionsOf } from '../../memory/strategy/options.ts';
import { captureShadow, installProgram } from '../../shadow/net/guest.ts';
import { type ManagerReport, YIELD_MS } from '../../shadow/net/manager/manager.ts';
import type { NetShadow } from '../../shadow/net/model.ts';
import { planReplay } from '../../shadow/net/plan.ts';
import type { ReplayPlan } from '../../shadow/net/plan-model.ts';
import { programFiles } from '../../shadow/net/program.ts';
import { withWanted } from '../../shadow/net/wanted.ts';
import type { Incoming } from '../destination/destination.ts';
import { TELLING, tellManager } from '../guest-manager.ts';
import { NOTE, type StagedNote } from '../history.ts';
import { planOptions } from '../knowledge.ts';
import {
  keepShadow,
  type NicMove,
  nicStep,
  programDirectory,
  type Run,
  step,
  waitBefore,
  warn,
} from '../run.ts';
import { channelOf, setStandbyLink } from '../vm.ts';
import type { NicPreflight, Preflight } from './preflight.ts';
import { capabilitiesFor } from './reserve.ts';

/** One NIC whose program waits in the guest. */
export interface NicStaged {
  move: NicMove;
  checked: NicPreflight;
  /** The shadow as the device leaves it. */
  shadow: NetShadow;
  plan: ReplayPlan;
  /** The guest's network manager, as it was before it was told. */
  manager: ManagerReport;
}

export interface Staged {
  /** In the order of `Run.nics`. */
  nics: readonly NicStaged[];
}

/** QEMU's own default is 128 MiB/s; the link is the limit unless the user sets one. */
const UNLIMITED = 1024 ** 4;

/** The plan that puts the source's own device back: on the same device nothing is lost. */
function rollbackPlan(checked: NicPreflight, shadow: NetShadow): ReplayPlan {
  const { defaults } = checked.known;
  return planReplay(shadow, {
    continuity: checked.continuity,
    ...(defaults === undefined ? {} : { defaults }),
  });
}

/** Tells the guest's network manager, so that it does not fight the replay. */
async function yieldToReplay(run: Run, checked: NicPreflight, plan: ReplayPlan): Promise<ManagerReport> {
  const { nic } = checked.move;
  const undo = [{ kind: 'give-interface-back', nic: nic.id } as const];
  return nicStep(run, checked.move, 'stage', TELLING, { undo }, () => {
    const signal = waitBefore(run, "the guest's network manager", YIELD_MS * run.nics.length);
    const { standbyPciPath } = checked;
    return tellManager(run, run.source.agent, { nic: nic.id, plan, standbyPciPath }, signal);
  });
}

async function stageNic(run: Run, checked: NicPreflight): Promise<NicStaged> {
  const { move } = checked;
  const { nic } = move;
  const { source } = run;
  const { limits } = run.request;
  const shadow = await nicStep(run, move, 'stage', 'capture the shadow', {}, () =>
    captureShadow(
      source.agent,
      checked.identity,
      checked.standbyPciPath,
      waitBefore(run, 'capturing the shadow', limits.agentMs * run.nics.length),
      checked.memory,
    ),
  ).then((captured) => {
    keepShadow(run, run.shadows, { vm: source.qemu.spec.name, nic: nic.id, shadow: captured, by: 'stage' });
    return withWanted(captured, nic.wanted);
  });
  const plan = planReplay(shadow, {
    continuity: checked.continuity,
    ...planOptions(checked.known),
  });
  // who finds the VM without its device later must know what the device had
  const note: StagedNote = { nic: nic.id, shadow, plan };
  run.journal.note(run.id, NOTE.staged, JSON.stringify(note));
  const dir = programDirectory(nic.id);
  const manager = await yieldToReplay(run, checked, plan);
  // after the manager was told: with a link the standby would get addresses of its own
  if (checked.continuity === 'bridge' && nic.standby === 'virtio') {
    const down = [{ kind: 'standby-link-down', nic: nic.id } as const];
    await nicStep(run, move, 'stage', 'raise the standby', { undo: down }, () =>
      setStandbyLink(source, nic.id, true),
    );
  }
  const undo = [{ kind: 'remove-program', nic: nic.id } as const];
  await nicStep(run, move, 'stage', 'put the program into the guest', { undo }, async () => {
    const signal = waitBefore(run, 'starting the program in the guest', limits.agentMs * run.nics.length);
    const ready = channelOf(source, nic.id).waitFor((event) => event.e === 'ready', signal);
    await installProgram(source.agent, {
      dir,
      files: programFiles({
        dir,
        port: checked.port,
        destination: plan,
        source: rollbackPlan(checked, shadow),
      }),
      // not bonding: the program loads it where it makes a bond, and then without the bond0 that comes with it
      modules: [move.model.modalias, checked.sourceModel.modalias],
      signal,
    });
    await ready;
  });
  return { move, checked, shadow, plan, manager };
}

export async function stage(run: Run, preflight: Preflight, incoming: Incoming): Promise<Staged> {
  const { source } = run;
  if (preflight.strategy === 'postcopy' && run.request.maxBandwidth > 0) {
    warn(run, 'a bandwidth limit in post-copy makes the running guest wait longer for its memory');
  }
  await step(run, 'stage', 'set the source up', {}, async () => {
    const signal = waitBefore(run, 'setting the migration up', 10_000);
    await migrateSetCapabilities(source.qemu.monitor, capabilitiesFor(preflight), { signal });
    const { firstDowntimeMs } = optionsOf(run.request.tuning);
    const parameters = {
      'max-bandwidth': run.request.maxBandwidth || UNLIMITED,
      'max-postcopy-bandwidth': run.request.maxBandwidth, // 0: as fast as it goes
      'downtime-limit': Math.min(firstDowntimeMs, run.request.downtimeLimitMs),
      // until the strategy wants it, QEMU is not to slow the guest down by itself
      ...(preflight.throttleOffered ? { 'throttle-trigger-threshold': 100 } : {}),
    };
    await migrateSetParameters(source.qemu.monitor, parameters, { signal });
  });
  const nics = await together(preflight.nics, (checked) => stageNic(run, checked));
  await incoming.stage(
    nics.map(({ move, checked, shadow, plan, manager }) => {
      const { identity, standbyPciPath } = checked;
      return { nic: move.nic.id, shadow, plan, identity, standbyPciPath, manager };
    }),
  );
  return { nics };
}
