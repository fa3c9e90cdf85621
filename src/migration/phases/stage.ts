/** Stage: all that can be done before the device leaves. The shadow is captured last. */
import { CHANNEL_PORT } from '../../hypervisor/qemu/spec.ts';
import { migrateSetCapabilities, migrateSetParameters } from '../../hypervisor/qmp/commands.ts';
import { FIRST_DOWNTIME_MS } from '../../memory/strategy.ts';
import { captureShadow, installProgram } from '../../shadow/net/guest.ts';
import type { NetShadow } from '../../shadow/net/model.ts';
import { planReplay } from '../../shadow/net/plan.ts';
import type { ReplayPlan } from '../../shadow/net/plan-model.ts';
import { programFiles } from '../../shadow/net/program.ts';
import { NOTE, type StagedNote } from '../history.ts';
import { programDirectory, type Run, step, waitBefore, warn } from '../run.ts';
import { setStandbyLink } from '../vm.ts';
import type { Preflight } from './preflight.ts';
import { capabilitiesFor } from './reserve.ts';

export interface Staged {
  /** The shadow as the device leaves it. */
  shadow: NetShadow;
  plan: ReplayPlan;
}

/** QEMU's own default is 128 MiB/s; the link is the limit unless the user sets one. */
const UNLIMITED = 1024 ** 4;

/** The plan that puts the source's own device back: on the same device nothing is lost. */
function rollbackPlan(preflight: Preflight, shadow: NetShadow): ReplayPlan {
  return planReplay(shadow, { continuity: preflight.continuity });
}

export async function stage(run: Run, preflight: Preflight): Promise<Staged> {
  const { nic, source } = run;
  const { limits } = run.request;
  if (preflight.continuity === 'bridge' && nic.standby === 'virtio') {
    await step(
      run,
      'stage',
      'raise the standby',
      { undo: [{ kind: 'standby-link-down', nic: nic.id }] },
      () => setStandbyLink(source, nic.id, true),
    );
  }
  if (preflight.strategy === 'postcopy' && run.request.maxBandwidth > 0) {
    warn(run, 'a bandwidth limit in post-copy makes the running guest wait longer for its memory');
  }
  await step(run, 'stage', 'set the source up', {}, async () => {
    const signal = waitBefore(run, 'setting the migration up', 10_000);
    await migrateSetCapabilities(source.qemu.monitor, capabilitiesFor(preflight), { signal });
    const parameters = {
      'max-bandwidth': run.request.maxBandwidth || UNLIMITED,
      'max-postcopy-bandwidth': run.request.maxBandwidth, // 0: as fast as it goes
      'downtime-limit': Math.min(FIRST_DOWNTIME_MS, run.request.downtimeLimitMs),
    };
    await migrateSetParameters(source.qemu.monitor, parameters, { signal });
  });
  const shadow = await step(run, 'stage', 'capture the shadow', {}, () =>
    captureShadow(
      source.agent,
      preflight.identity,
      preflight.standbyPciPath,
      waitBefore(run, 'capturing the shadow', limits.agentMs),
    ),
  );
  const plan = planReplay(shadow, {
    continuity: preflight.continuity,
    ...(preflight.abilities === undefined ? {} : { abilities: preflight.abilities }),
  });
  // who finds the VM without its device later must know what the device had
  run.journal.note(run.id, NOTE.staged, JSON.stringify({ shadow, plan } satisfies StagedNote));
  const dir = programDirectory(nic.id);
  await step(
    run,
    'stage',
    'put the program into the guest',
    { undo: [{ kind: 'remove-program', nic: nic.id }] },
    async () => {
      const signal = waitBefore(run, 'starting the program in the guest', limits.agentMs);
      const ready = source.channel.waitFor((event) => event.e === 'ready', signal);
      await installProgram(source.agent, {
        dir,
        files: programFiles({
          dir,
          port: `/dev/virtio-ports/${CHANNEL_PORT}`,
          destination: plan,
          source: rollbackPlan(preflight, shadow),
        }),
        // not bonding: the program loads it where it makes a bond, and then without the bond0 that comes with it
        modules: [run.model.modalias, preflight.sourceModel.modalias],
        signal,
      });
      await ready;
    },
  );
  return { shadow, plan };
}
