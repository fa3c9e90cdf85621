/** One migration watched from outside: what the demo shows, the tests assert and the benches measure. */
import { setTimeout as delay } from 'node:timers/promises';
import { LocalDestination } from '../migration/destination/local-host.ts';
import { migrateVm, type Outcomes } from '../migration/engine.ts';
import type { MigrationEvent } from '../migration/events.ts';
import type { MigrationRequest } from '../migration/request.ts';
import type { RunningVm } from '../migration/vm.ts';
import { GUEST_ADDRESS } from './guest-setup.ts';
import { hostOf, type Lab } from './lab.ts';
import { type ProbeOptions, type ProbeResult, type Probes, startProbes } from './probe/probes.ts';

export interface ScenarioOptions {
  lab: Lab;
  vm: RunningVm;
  request: MigrationRequest;
  emit?: (event: MigrationEvent) => void;
  cancel?: AbortSignal;
  /** Traffic before and after the migration, ms: what "undisturbed" looks like. */
  quietMs?: number;
  /** Bytes per second of each bulk stream; an emulated guest has little to give. */
  bulkRate?: number;
  confirm?: () => Promise<void>;
}

export interface Observed extends Outcomes {
  observed: ProbeResult;
}

/** Starts the probes and waits until every connection answers; none is left running when one does not. */
export async function watchGuest(
  lab: Lab,
  bulkRate = 200_000,
  target = GUEST_ADDRESS,
  options: Partial<Pick<ProbeOptions, 'readyMs' | 'finishMs' | 'everyMs' | 'icmp'>> = {},
): Promise<Probes> {
  const probes = startProbes({ enter: lab.outside([]), target, icmp: true, bulkRate, ...options });
  try {
    await probes.ready;
  } catch (error) {
    probes.kill();
    throw error;
  }
  return probes;
}

/** Migrates without looking from outside. */
export async function migrateInLab(options: ScenarioOptions): Promise<Outcomes> {
  const { lab, vm, request, emit = () => {}, cancel = new AbortController().signal, confirm } = options;
  const { journal, ownership, abilities, shadows } = lab;
  const destination = hostOf(lab, request.destination, 'destination');
  return migrateVm(request, {
    journal,
    ownership,
    abilities,
    shadows,
    source: vm,
    destination: new LocalDestination(destination, { ownership, abilities, shadows }),
    emit,
    cancel,
    confirm,
  });
}

/** Migrates under the probes' eyes. */
export async function observedMigration(options: ScenarioOptions): Promise<Observed> {
  const { lab, quietMs = 700, bulkRate } = options;
  const probes = await watchGuest(lab, bulkRate);
  try {
    await delay(quietMs);
    const outcomes = await migrateInLab(options);
    await delay(quietMs);
    return { ...outcomes, observed: await probes.stop() };
  } finally {
    probes.kill();
  }
}
