/** One case of the crash matrix: a migration, one fault in it, and what was seen afterwards. */
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../base/deadline.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { toShadowferryError } from '../../errors.ts';
import type { LabDaemons } from '../daemons.ts';
import { LAB_HOSTS } from '../lab.ts';
import type { FaultCase, Phase } from './cases.ts';
import type { Driver } from './driver.ts';
import type { Follower } from './follow.ts';
import type { Gate } from './gate.ts';
import { type Injected, inject, type Scene } from './inject.ts';
import { recordsOf, viewOf } from './look.ts';
import type { HostName, Observation } from './observation.ts';
import type { Pulse } from './pulse.ts';
import { judge, type Verdict } from './verdict.ts';

export interface Stage {
  lab: LabDaemons;
  gate: Gate;
  driver: Driver;
  pulse: Pulse;
  /** Of each daemon. */
  followers: Record<HostName, Follower>;
  vm: string;
  ownTaps: readonly string[];
  /** Where the VM runs. */
  home: HostName;
  /** From the end of a fault to a good end, ms. */
  settledMs: number;
  /** Breaks something else than the case says, for tests of the verdicts themselves. */
  sabotage?: (scene: Scene) => Promise<Injected>;
}

export interface Played {
  verdict: Verdict;
  seen: Observation;
  /** The migration's id; undefined where it did not begin. */
  id: string | undefined;
}

/** For the phase to begin, and what the fault needs to be there. */
const PHASE_MS = 60_000;
/** A fault that lasts is mended after so long, though the migration waits. */
const LASTING_MS = 12_000;
const AGAIN_MS = 200;
/** For an echo from the guest. */
const ECHO_MS = 15_000;
/** For an echo while it is only asked whether all is well already. */
const QUICK_ECHO_MS = 2_000;

type Broken = Pick<Observation, 'notInjected' | 'killed'>;

const otherOf = (host: HostName): HostName => (host === 'a' ? 'b' : 'a');

/** The phase's beginning, as the source's daemon tells it; 'over' when the migration ended before. */
function phaseOrEnd(
  follower: Follower,
  id: string,
  phase: Phase,
  signal: AbortSignal,
): Promise<'begun' | 'over'> {
  return follower.until((events) => {
    for (const { type, data } of events) {
      if (data.id !== id || !type.startsWith('migration.')) continue;
      if (data.phase === phase && type !== 'migration.ended') return 'begun';
      if (type === 'migration.ended') return 'over';
    }
    return undefined;
  }, signal);
}

async function look(
  stage: Stage,
  case_: Broken & Pick<Observation, 'crashed'>,
  id: string | undefined,
  echoMs: number,
): Promise<Observation> {
  const { lab, gate, driver, pulse, vm, ownTaps, home: source } = stage;
  const destination = otherOf(source);
  const [copies, { owner, claims }, a, b, { connections, answers }] = await Promise.all([
    gate.copies(vm),
    recordsOf(lab, vm),
    viewOf(lab, gate, 'a', driver.vms),
    viewOf(lab, gate, 'b', driver.vms),
    pulse.check(echoMs),
  ]);
  const ending = id === undefined ? undefined : await driver.ending(source, id);
  const explanation = id === undefined ? undefined : await driver.explain(source, id);
  return {
    ...case_,
    ...{ copies, spans: structuredClone(gate.spans), owner, claims, connections, answers },
    hosts: { a, b },
    migration: id === undefined || ending === undefined ? undefined : { id, source, destination, ending },
    ...{ explanation, ownTaps },
  };
}

/** Waits until the migration has ended by its journal, or until `signal`. */
async function ended(
  stage: Stage,
  id: string,
  signal: AbortSignal,
  each: () => Promise<void> = async () => {},
): Promise<boolean> {
  while (!signal.aborted) {
    await each();
    const ending = await stage.driver.ending(stage.home, id);
    if (ending !== null && ending !== undefined) return true;
    await pauseFor(AGAIN_MS, signal);
  }
  return false;
}

/** Injects the fault when the phase begins, and mends it. */
async function breakIt(stage: Stage, { phase, fault }: FaultCase, id: string): Promise<Broken> {
  const { lab, gate, vm, home: source } = stage;
  const destination = otherOf(source);
  const signal = deadline(`phase ${phase}`, PHASE_MS);
  let injected: Injected;
  try {
    if ((await phaseOrEnd(stage.followers[source], id, phase, signal)) === 'over')
      return { notInjected: `the migration ended before ${phase}`, killed: undefined };
    const scene: Scene = { lab, gate, vm, source, destination, signal };
    injected = await (stage.sabotage?.(scene) ?? inject(fault, scene));
  } catch (error) {
    return { notInjected: toShadowferryError(error).message, killed: undefined };
  }
  const { mend, lift, killed } = injected;
  if (mend === 'ended') await ended(stage, id, deadline('a fault that lasts', LASTING_MS));
  else if (typeof mend === 'number') await delay(mend);
  await lift();
  return { notInjected: undefined, killed };
}

/** Starts the daemons that have ended, as systemd would. @returns whose */
async function revive({ daemons }: LabDaemons): Promise<HostName[]> {
  const dead = LAB_HOSTS.filter((host) => !daemons[host].alive);
  await Promise.all(dead.map((host) => daemons[host].start()));
  return dead;
}

/** Plays one case. What it finds is in the verdict; it throws only where the lab itself fails. */
export async function playCase(stage: Stage, case_: FaultCase): Promise<Played> {
  const { lab, gate, driver, followers, home: source } = stage;
  gate.forgetSpans();
  followers.a.forget();
  followers.b.forget();
  const destination = otherOf(source);
  let id: string | undefined;
  let what: Broken;
  try {
    id = await driver.migrate({ source, destination, way: case_.way });
    what = await breakIt(stage, case_, id);
  } catch (error) {
    what = {
      notInjected: `the migration did not begin: ${toShadowferryError(error).message}`,
      killed: undefined,
    };
  }
  const limit = deadline('a good end', stage.settledMs);
  const crashed = new Set<HostName>();
  const keepUp = async () => {
    for (const host of await revive(lab)) crashed.add(host);
  };
  if (id !== undefined) await ended(stage, id, limit, keepUp);
  for (;;) {
    await keepUp();
    const last = limit.aborted;
    const seen = await look(stage, { ...what, crashed: [...crashed] }, id, last ? ECHO_MS : QUICK_ECHO_MS);
    const verdict = judge(seen);
    // what was not injected, or ran twice, no wait makes good
    const hopeless = seen.notInjected !== undefined;
    if (verdict.survived || last || hopeless) return { verdict, seen, id };
    await delay(AGAIN_MS);
  }
}
