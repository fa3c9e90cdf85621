/** Reserve: the destination claims the devices, makes the taps and starts a QEMU that waits, paused, for the stream. */
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { DiskMove } from '../../storage/model.ts';
import type { Incoming } from '../destination/destination.ts';
import { movedDisks } from '../disks.ts';
import type { HandOver } from '../protocol/record.ts';
import type { Run } from '../run.ts';
import type { Preflight } from './preflight.ts';

/** The VM as the destination will run it: the same, with the destination's device behind each NIC that moves. */
export function destinationSpec(run: Run, disks: readonly DiskMove[]): VmSpec {
  const { spec } = run.source.qemu;
  const nics = spec.nics.map((nic) => {
    const target = run.nics.find((move) => move.nic.id === nic.id)?.target;
    return target === undefined ? nic : { ...nic, direct: { device: target.id, model: target.model } };
  });
  return { ...spec, nics, disks: movedDisks(spec.disks, disks) };
}

/** Capabilities of one migration; both sides must agree on them. */
export function capabilitiesFor(preflight: Preflight): Record<string, boolean> {
  return {
    events: true,
    'return-path': true,
    'pause-before-switchover': true,
    'postcopy-ram': preflight.strategy === 'postcopy' || preflight.postcopyAllowed,
    ...(preflight.postcopyPreempt ? { 'postcopy-preempt': preflight.strategy === 'postcopy' } : {}),
    ...(preflight.throttleOffered ? { 'auto-converge': true } : {}),
  };
}

/** From which record this migration hands the VM over. */
export function handOverFrom(
  run: Pick<Run, 'id' | 'destination'>,
  { owned: { vm, owner, epoch } }: Pick<Preflight, 'owned'>,
): HandOver {
  return { id: run.id, vm, source: owner, destination: run.destination.name, epoch };
}

export function reserve(run: Run, preflight: Preflight): Promise<Incoming> {
  const { limits, persist } = run.request;
  const order = {
    handOver: handOverFrom(run, preflight),
    spec: destinationSpec(run, preflight.disks),
    nics: run.nics,
    disks: preflight.disks.map(({ to }) => to),
    capabilities: capabilitiesFor(preflight),
  };
  return run.destination.reserve({ ...order, limits, persist }, run, run.cancel);
}
