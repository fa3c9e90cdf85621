/** Reserve: the destination claims the devices, makes the taps and starts a QEMU that waits, paused, for the stream. */
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import { tapName } from '../../host/host.ts';
import { tapProps } from '../../hypervisor/qemu/argv.ts';
import { nicIds, type VmSpec } from '../../hypervisor/qemu/spec.ts';
import { migrateIncoming, migrateSetCapabilities, netdevAdd } from '../../hypervisor/qmp/commands.ts';
import { nicStep, type Run, step, waitBefore } from '../run.ts';
import { allTaps, endVm, launchVm, type RunningVm } from '../vm.ts';
import type { Preflight } from './preflight.ts';

export interface Reserved {
  vm: RunningVm;
  /** Where the source sends the stream. */
  uri: string;
}

const Listening = z.object({
  'socket-address': z.array(z.object({ type: z.literal('inet'), host: z.string(), port: z.string() })).min(1),
});

/** The VM as the destination will run it: the same, with the destination's device behind each NIC that moves. */
export function destinationSpec(run: Run): VmSpec {
  const { spec } = run.source.qemu;
  const nics = spec.nics.map((nic) => {
    const target = run.nics.find((move) => move.nic.id === nic.id)?.target;
    return target === undefined ? nic : { ...nic, direct: { device: target.id, model: target.model } };
  });
  return { ...spec, nics };
}

async function listen(run: Run, vm: RunningVm, signal: AbortSignal): Promise<string> {
  const { monitor } = vm.qemu;
  // the port is QEMU's choice, so that two migrations never want the same
  await migrateIncoming(monitor, `tcp:${run.destination.migrationAddress}:0`, { signal });
  const info = await monitor.execute('query-migrate', undefined, { schema: Listening, signal });
  const address = info['socket-address'][0];
  if (address === undefined) throw new ShadowferryError('INTERNAL', { why: 'QEMU listens nowhere' });
  return `tcp:${address.host}:${address.port}`;
}

/** Capabilities of one migration; both sides must agree on them. */
export function capabilitiesFor(preflight: Preflight): Record<string, boolean> {
  return {
    events: true,
    'return-path': true,
    'pause-before-switchover': true,
    'postcopy-ram': preflight.strategy === 'postcopy' || preflight.postcopyAllowed,
    ...(preflight.postcopyPreempt ? { 'postcopy-preempt': preflight.strategy === 'postcopy' } : {}),
  };
}

export async function reserve(run: Run, preflight: Preflight): Promise<Reserved> {
  const host = run.destination;
  const spec = destinationSpec(run);
  for (const move of run.nics) {
    const device = move.target.id;
    await nicStep(
      run,
      move,
      'reserve',
      'claim the device',
      { undo: [{ kind: 'release-device', host: host.name, device }] },
      () => run.ownership.claimDevice({ host: host.name, device, vm: spec.name, migration: run.id }),
    );
  }
  const taps = allTaps(spec);
  await step(
    run,
    'reserve',
    'make the taps',
    { undo: taps.map(({ tap }) => ({ kind: 'remove-tap', host: host.name, tap }) as const) },
    async () => {
      for (const { tap, network, queues } of taps) await host.createTap(tap, network, queues);
    },
  );
  const signal = waitBefore(run, `starting QEMU on ${host.name}`, 30_000);
  return step(
    run,
    'reserve',
    'start QEMU on the destination',
    { undo: [{ kind: 'end-destination', host: host.name }] },
    async () => {
      const vm = await launchVm(host, spec, { incoming: true, direct: 'none', signal });
      try {
        // the backends are made now, so that the attach is one command
        for (const { nic, target } of run.nics) {
          const tap = tapName(spec.name, nic.id, 'direct');
          await netdevAdd(vm.qemu.monitor, tapProps(nicIds(nic).directNetdev, tap, target.model), { signal });
        }
        await migrateSetCapabilities(vm.qemu.monitor, capabilitiesFor(preflight), { signal });
        return { vm, uri: await listen(run, vm, signal) };
      } catch (error) {
        await endVm(vm);
        throw error;
      }
    },
  );
}
