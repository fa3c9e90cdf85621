/** Plays the crash matrix: many cases in one lab, which is made anew where one has broken it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toShadowferryError } from '../../errors.ts';
import { LabDaemons } from '../daemons.ts';
import { GUEST_ADDRESS } from '../guest-setup.ts';
import { LAB_HOSTS } from '../lab.ts';
import type { FaultCase } from './cases.ts';
import type { Driver } from './driver.ts';
import { Follower } from './follow.ts';
import { Gate } from './gate.ts';
import { tapsOfSpec } from './look.ts';
import type { HostName, Observation } from './observation.ts';
import { type Played, playCase, type Stage } from './one-case.ts';
import { Pulse } from './pulse.ts';
import type { CaseResult } from './report.ts';

/** Enough for databases, sockets and logs, and soon filled. */
const STATE_MIB = 48;
const DEVICES = { a: ['e1000e'], b: ['vmxnet3'] };
const OPEN_MS = 60_000;
const SETTLED_MS = 90_000;

export interface MatrixOptions {
  driver: (lab: LabDaemons) => Driver;
  /** Name of the VM that the driver makes. */
  vm: string;
  log: (line: string) => void;
  /** Where what is known of lost cases is kept. */
  evidence?: string | undefined;
  config?: (host: HostName) => Record<string, unknown>;
  /** Models of the devices of each host; one of another model on each unless told. */
  devices?: Record<HostName, readonly string[]>;
  /** From the end of a fault to a good end, ms; 90000 unless told. */
  settledMs?: number;
  sabotage?: Stage['sabotage'];
}

export interface Standing {
  stage: Stage;
  close: () => Promise<void>;
}

/** Makes a lab with a VM under daemons, whose QEMUs stand behind a gate. */
export async function makeLab(options: MatrixOptions): Promise<Standing> {
  let started = '';
  const lab = await LabDaemons.create({
    ...{ devices: options.devices ?? DEVICES, members: 3, stateMiB: STATE_MIB },
    qemu: (_, directory) => {
      started = join(directory, 'started');
      return Gate.wrapper(directory, started);
    },
    ...(options.config === undefined ? {} : { config: options.config }),
  });
  const gate = new Gate(started, (path) =>
    LAB_HOSTS.find((host) => path.startsWith(`${lab.places[host].directory}/`)),
  );
  const followers = { a: new Follower(lab.places.a.socket), b: new Follower(lab.places.b.socket) };
  const pulse = new Pulse((argv) => lab.outside(argv), GUEST_ADDRESS);
  const close = async () => {
    pulse.close();
    followers.a.close();
    followers.b.close();
    gate.close();
    await lab.dispose();
  };
  try {
    const driver = options.driver(lab);
    const spec = await driver.startVm('a');
    await pulse.open(OPEN_MS);
    const stage: Stage = {
      ...{ lab, gate, driver, pulse, followers, vm: options.vm },
      ...{ ownTaps: tapsOfSpec(spec), home: 'a' },
      settledMs: options.settledMs ?? SETTLED_MS,
      ...(options.sabotage === undefined ? {} : { sabotage: options.sabotage }),
    };
    return { stage, close };
  } catch (error) {
    options.log(`the lab does not stand: ${lab.daemons.a.said().slice(-2000)}`);
    await close();
    throw error;
  }
}

/** What is known of a lost case, for people. */
function keepEvidence(
  directory: string,
  { id }: FaultCase,
  { verdict, seen }: Played,
  { lab, followers }: Stage,
): void {
  const place = join(directory, id.replaceAll('/', '_'));
  mkdirSync(place, { recursive: true });
  const events = Object.fromEntries(LAB_HOSTS.map((host) => [host, followers[host].events]));
  writeFileSync(join(place, 'seen.json'), JSON.stringify({ verdict, seen, events }, undefined, 1));
  for (const host of LAB_HOSTS)
    writeFileSync(join(place, `${host}.log`), lab.daemons[host].said().slice(-200_000));
}

/** Makes ready for the next case. @returns false where only a new lab will do */
async function restore({ stage }: Standing, { verdict, seen }: Played): Promise<boolean> {
  if (!verdict.survived) return false;
  const { driver, pulse } = stage;
  if (verdict.fate === 'ended') {
    await driver.clearVm();
    await driver.startVm('a');
    stage.home = 'a';
  } else {
    const copy = seen.copies.find(({ status }) => status === 'running');
    if (copy === undefined) return false;
    stage.home = copy.host;
    if (!copy.device || endingOf(seen) === 'degraded') await driver.attach(copy.host);
  }
  await pulse.open(OPEN_MS);
  return true;
}

/** Plays the cases one by one. Each result is given to `tell` as it comes. */
export async function playMatrix(
  cases: readonly FaultCase[],
  options: MatrixOptions,
  tell: (result: CaseResult) => void,
): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  let standing: Standing | undefined;
  try {
    for (const case_ of cases) {
      standing ??= await makeLab(options).catch((error: unknown) => {
        options.log(`the lab is made once more: ${toShadowferryError(error).message}`);
        return makeLab(options);
      });
      const { stage } = standing;
      const began = performance.now();
      let played: Played | undefined;
      let failed = '';
      try {
        played = await playCase(stage, case_);
        if (diedUnharmed(played)) {
          options.log(`${case_.id} is played once more: ${played.verdict.problems.join('; ')}`);
          played = await playCase(stage, case_);
        }
      } catch (error) {
        failed = `the lab failed: ${toShadowferryError(error).message}`;
      }
      const result = resultOf(case_, played, failed, performance.now() - began);
      results.push(result);
      tell(result);
      if (played !== undefined && !result.survived && options.evidence !== undefined)
        keepEvidence(options.evidence, case_, played, stage);
      const ready =
        played !== undefined &&
        (await restore(standing, played).catch((error: unknown) => {
          options.log(`the lab is made anew: ${toShadowferryError(error).message}`);
          return false;
        }));
      if (ready) continue;
      const old = standing;
      standing = undefined;
      await old.close();
    }
  } finally {
    await standing?.close();
  }
  return results;
}

/**
 * Whether a migration went back by itself before anything was broken, and left all as it was: on a machine that is too
 * busy the guest may answer too late. That says nothing of the fault.
 */
function diedUnharmed({ seen, verdict }: Played): boolean {
  return seen.notInjected !== undefined && verdict.problems.length === 1 && endingOf(seen) === 'rolled-back';
}

function resultOf(case_: FaultCase, played: Played | undefined, failed: string, ms: number): CaseResult {
  if (played === undefined)
    return {
      ...{ case: case_, survived: false, fate: 'ended', exception: undefined, ending: null, ms },
      problems: [failed],
    };
  const { survived, fate, problems, exception } = played.verdict;
  return { case: case_, survived, fate, problems, exception, ending: endingOf(played.seen), ms };
}

const endingOf = ({ migration }: Observation): string | null => migration?.ending ?? null;
