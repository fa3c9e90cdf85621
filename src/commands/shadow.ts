/** `shadowferry shadow show|diff|history|watch`: what is known of a VM's direct devices. */
import type { Command } from 'commander';
import { ShadowferryError } from '../errors.ts';
import { labAccess, lockWatch } from '../lab/access.ts';
import type { Lab } from '../lab/lab.ts';
import { openStandingLab } from '../lab/standing.ts';
import { resolveSide } from '../observe/compare.ts';
import { findVersion, parseOperand } from '../observe/operand.ts';
import { checkNic, type Known, presentShadows } from '../observe/present.ts';
import { watchVm } from '../observe/watch.ts';
import type { WatchEvent } from '../observe/watch-events.ts';
import { changesBetween, comparedOf } from '../shadow/store/changes.ts';
import { cancelOnSignal, fixedStateDirectory, print, wholeNumber } from './options.ts';
import { renderChange, renderShadow, renderVersion } from './shadow-format.ts';
import { knownLine, renderWatchEvent, versionLine } from './shadow-lines.ts';

interface Common {
  nic?: string;
  json?: boolean;
}

async function inLab<T>(act: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    return await act(lab);
  } finally {
    lab.close();
  }
}

async function show(vm: string, options: Common & { at?: string; all?: boolean }): Promise<void> {
  await inLab(async (lab) => {
    const access = labAccess(lab, vm);
    const known =
      options.at === undefined
        ? await presentShadows(access, lab.shadows, options.nic)
        : await pastShadows(lab, vm, options.nic, options.at);
    if (options.json) print(JSON.stringify({ type: 'shadow', vm, nics: known.map(knownLine) }));
    else print(known.map((each) => renderShadow(vm, each, options.all ?? false)).join('\n\n'));
  });
}

/** A version of the past; of each NIC, unless one is named. */
async function pastShadows(lab: Lab, vm: string, nic: string | undefined, at: string): Promise<Known[]> {
  await labAccess(lab, vm).place();
  return knownNics(lab, vm, nic).map((id) => {
    const version = findVersion(lab.shadows, { field: '--at', vm, nic: id }, at);
    const shadow = lab.shadows.shadow(version);
    if (shadow !== undefined) return { nic: id, version, shadow, live: false, changes: [] };
    const problem = `version ${version.seq} was written by another version of Shadowferry and is not read any more`;
    throw new ShadowferryError('INPUT_FIELD', { field: '--at', problem });
  });
}

/** NICs of which something was seen; only this one when one is named. */
function knownNics(lab: Lab, vm: string, nic: string | undefined): string[] {
  const nics = lab.shadows.nics(vm);
  if (nic === undefined) return nics;
  checkNic(vm, nic, nics);
  return [nic];
}

async function history(vm: string, options: Common & { all?: boolean }): Promise<void> {
  await inLab(async (lab) => {
    await labAccess(lab, vm).place();
    const nics = knownNics(lab, vm, options.nic).map((nic) => ({
      nic,
      versions: lab.shadows
        .versions(vm, nic)
        .map((version) => ({ version, changes: lab.shadows.changes(version) })),
    }));
    if (options.json) {
      const told = nics.map(({ nic, versions }) => ({
        nic,
        versions: versions.map(({ version, changes }) => versionLine(version, changes)),
      }));
      return print(JSON.stringify({ type: 'shadow-history', vm, nics: told }));
    }
    if (nics.length === 0) return print(`No shadow of "${vm}" was seen yet.`);
    const text = nics.map(({ nic, versions }) => {
      const first = versions[0]?.version.seq ?? 1;
      const dropped = first > 1 ? ` (older than version ${first} are not kept)` : '';
      const lines = versions.map(({ version, changes }) =>
        renderVersion(version, changes, options.all ?? false),
      );
      return [`${vm}, ${nic}${dropped}`, ...lines].join('\n');
    });
    print(text.join('\n\n'));
  });
}

async function diff(
  vm: string,
  from: string | undefined,
  to: string | undefined,
  options: Common & { exitCode?: boolean },
): Promise<void> {
  const operands = [parseOperand('from', from ?? 'last', vm), parseOperand('to', to ?? 'now', vm)] as const;
  await inLab(async (lab) => {
    const compare = {
      access: (name: string) => labAccess(lab, name),
      store: lab.shadows,
      nic: options.nic,
    };
    // in this order: to look at the present may make a newer "last"
    const before = await resolveSide('from', operands[0], compare);
    const after = await resolveSide('to', operands[1], compare);
    const changes = changesBetween(comparedOf(before.shadow), comparedOf(after.shadow));
    if (options.json) {
      const side = ({ name, why }: typeof before) => ({ name, why: why?.toJSON() ?? null });
      const [a, b] = [side(before), side(after)];
      print(
        JSON.stringify({ type: 'shadow-diff', vm, from: a, to: b, equal: changes.length === 0, changes }),
      );
    } else {
      for (const { name, why } of [before, after]) {
        if (why !== undefined) print(`! ${name}: ${why.message}`);
      }
      print(`from ${before.name}\nto   ${after.name}`);
      print(changes.length === 0 ? 'No attribute differs.' : changes.map(renderChange).join('\n'));
    }
    if (options.exitCode && changes.length > 0) process.exitCode = 1;
  });
}

async function watch(vm: string, options: { json?: boolean; every?: number }): Promise<void> {
  await inLab(async (lab) => {
    const access = labAccess(lab, vm);
    await access.place();
    using _lock = lockWatch(lab, vm);
    const signal = cancelOnSignal();
    const emit = (event: WatchEvent) => print(options.json ? JSON.stringify(event) : renderWatchEvent(event));
    const everyMs = options.every === undefined ? undefined : options.every * 1000;
    await watchVm({ access, store: lab.shadows, emit, signal, everyMs });
  });
}

export function registerShadow(program: Command): void {
  const shadow = program
    .command('shadow')
    .description("the state of a VM's direct devices: now, in the past, and as it changes");
  shadow
    .command('show')
    .description('show the present shadow, or the last known one where the device is away')
    .argument('<vm>')
    .option('--nic <id>', 'only this NIC')
    .option('--at <version>', 'a version of the past: 7, 1.0.2.0 or last')
    .option('--all', 'list the offloads and sysctls too')
    .option('--json', 'print one line of JSON, with the whole shadow')
    .action(show);
  shadow
    .command('diff')
    .description('show what differs between two states')
    .argument('<vm>')
    .argument('[from]', 'a version (7, 1.0.2.0, last), now, a file (./a.json), a VM (web2, web2@7); last')
    .argument('[to]', 'the same; now')
    .option('--nic <id>', 'which NIC, where there are several')
    .option('--exit-code', 'end with 1 where something differs')
    .option('--json', 'print one line of JSON')
    .action(diff);
  shadow
    .command('history')
    .description('list the versions that were seen, and what changed with each')
    .argument('<vm>')
    .option('--nic <id>', 'only this NIC')
    .option('--all', 'list every change')
    .option('--json', 'print one line of JSON')
    .action(history);
  shadow
    .command('watch')
    .description('keep the last known shadow current until Ctrl-C; costs the guest next to nothing')
    .argument('<vm>')
    .option(
      '--every <seconds>',
      'pause between looks for what no event tells; by what a look costs when left out',
      wholeNumber('--every', 1, 86_400),
    )
    .option('--json', 'one JSON object per line')
    .action(watch);
}
