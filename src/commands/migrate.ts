/** `shadowferry migrate`: moves a VM of the standing lab. */
import { isDeepStrictEqual } from 'node:util';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';
import { hostOf, type Lab } from '../lab/lab.ts';
import type { StrategyTuning } from '../memory/strategy/options.ts';
import { degradedOf, degradedVm } from '../migration/degraded.ts';
import { type PlanFile, planText } from '../migration/plan-file.ts';
import { type MigrationRequest, parseRequest } from '../migration/request.ts';
import { askBeforeHandOver } from './confirm.ts';
import {
  type ContinuityOption,
  cancelOnSignal,
  checkWritable,
  continuityOption,
  deviceMap,
  diskMap,
  readPlan,
  wholeNumber,
  writeOutput,
} from './options.ts';
import { addRemoteOptions, refuseWithoutHost, remoteOf } from './remote.ts';
import { migrateRemotely, refuseHere } from './remote-work.ts';
import { showMigration } from './show-migration.ts';
import { withVm } from './standing-vm.ts';
import { tuningOption } from './tuning.ts';

interface Options {
  to?: string;
  device?: Record<string, string>;
  disk?: Record<string, string>;
  diskBandwidth?: number;
  oldDisks?: string;
  continuity?: ContinuityOption;
  strategy?: string;
  onLoss?: string;
  maxBandwidth?: number;
  downtimeLimit?: number;
  tune?: StrategyTuning;
  dryRun?: boolean;
  persist?: boolean;
  planOut?: string;
  plan?: string;
  hold?: boolean;
  probe?: boolean;
  bulkRate: number;
  report?: string;
  json?: boolean;
  detach?: boolean;
  whenItComes?: boolean;
}

/** Fields of a request by the option that gives them. */
function given(
  vm: string | undefined,
  options: Options,
): [option: string, field: keyof MigrationRequest, value: unknown][] {
  return [
    ['vm', 'vm', vm],
    ['--to', 'destination', options.to],
    ['--device', 'devices', options.device],
    ['--disk', 'disks', options.disk],
    ['--disk-bandwidth', 'diskBandwidth', options.diskBandwidth],
    ['--old-disks', 'oldDisks', options.oldDisks],
    ['--continuity', 'continuity', options.continuity?.all],
    ['--continuity', 'continuityOf', options.continuity?.of],
    ['--strategy', 'strategy', options.strategy],
    ['--on-loss', 'onLoss', options.onLoss],
    ['--persist', 'persist', options.persist],
    ['--max-bandwidth', 'maxBandwidth', options.maxBandwidth],
    ['--downtime-limit', 'downtimeLimitMs', options.downtimeLimit],
    ['--tune', 'tuning', options.tune],
  ];
}

/** Whether an option only says again what the plan says; of a table (of NICs) it may say a part. */
function repeats(value: unknown, planned: unknown): boolean {
  const [mine, its] = [Table.safeParse(value), Table.safeParse(planned)];
  if (!mine.success || !its.success) return isDeepStrictEqual(value, planned);
  return Object.entries(mine.data).every(([key, each]) => its.data[key] === each);
}

const Table = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

/**
 * What is asked for: by the options, or by a plan file, which the options may repeat but not contradict. Pure.
 * @throws INPUT_FIELD, UNKNOWN_MODE
 */
export function requestOf(
  vm: string | undefined,
  options: Options,
  plan: PlanFile | undefined,
): MigrationRequest {
  const dryRun = options.dryRun ?? false;
  const told = given(vm, options).filter(([, , value]) => value !== undefined);
  if (plan !== undefined) {
    for (const [option, field, value] of told) {
      if (repeats(value, plan.request[field])) continue;
      const [mine, its] = [JSON.stringify(value), JSON.stringify(plan.request[field])];
      const problem = `${mine} contradicts the plan, which says ${its}`;
      throw new ShadowferryError('INPUT_FIELD', { field: option, problem });
    }
    return { ...plan.request, dryRun };
  }
  for (const [option, value] of [
    ['vm', vm],
    ['--to', options.to],
  ] as const) {
    if (value !== undefined && value !== '') continue;
    throw new ShadowferryError('INPUT_FIELD', {
      field: option,
      problem: 'is missing, and there is no --plan',
    });
  }
  return parseRequest({ ...Object.fromEntries(told.map(([, field, value]) => [field, value])), dryRun });
}

async function migrate(name: string | undefined, options: Options, command: Command): Promise<void> {
  const plan = options.plan === undefined ? undefined : await readPlan(options.plan);
  const request = requestOf(name, options, plan);
  const remote = await remoteOf(command);
  if (remote !== undefined) {
    const { probe, report, planOut, hold = false, whenItComes = false } = options;
    refuseHere({ '--probe': probe, '--report': report, '--plan-out': planOut });
    const how = { json: options.json ?? false, detach: options.detach ?? false };
    return migrateRemotely(remote, request, { hold, whenItComes }, how);
  }
  refuseWithoutHost({ '--detach': options.detach, '--when-it-comes': options.whenItComes });
  checkWritable('--report', options.report);
  checkWritable('--plan-out', options.planOut);
  const json = options.json ?? false;
  const check = (lab: Lab) => {
    hostOf(lab, request.destination, '--to');
    const degraded = degradedOf(request.vm, lab.journal);
    if (degraded !== undefined) throw degradedVm(degraded);
  };
  await withVm(request.vm, check, async (lab, vm) => {
    const cancel = cancelOnSignal();
    const { preflight, result } = await showMigration({
      lab,
      vm,
      request,
      cancel,
      json,
      observe: options.probe ?? false,
      bulkRate: options.bulkRate,
      report: options.report,
      ...(options.hold ? { confirm: () => askBeforeHandOver(request, json, cancel) } : {}),
    });
    if (options.planOut !== undefined && preflight !== undefined && result.ok) {
      const nics = preflight.nics.map(({ move, plan: replay }) => ({
        nic: move.nic.id,
        device: move.target.id,
        replay,
      }));
      await writeOutput('--plan-out', options.planOut, planText(request, nics));
    }
  });
}

export function registerMigrate(program: Command): void {
  const command = program
    .command('migrate')
    .description('move a VM of the lab, or of a host whose daemon is asked, to another host')
    .argument('[vm]', 'the VM; may be left out with --plan')
    .option('--to <host>', 'the destination')
    .addOption(
      new Option(
        '--device <NIC=DEVICE>',
        'the device of the destination that a NIC gets; may be repeated',
      ).argParser<Record<string, string> | undefined>((text, before) => deviceMap(text, before ?? {})),
    )
    .addOption(
      new Option(
        '--disk <DISK=PATH>',
        'where a disk that moves goes on the destination; may be repeated',
      ).argParser<Record<string, string> | undefined>((text, before) => diskMap(text, before ?? {})),
    )
    .option(
      '--disk-bandwidth <bytes/s>',
      'of the copy of each disk; 0 for no limit',
      wholeNumber('--disk-bandwidth', 0),
    )
    .option(
      '--old-disks <policy>',
      'images that are left here when their disks have moved: keep (default) or remove',
    )
    .addOption(
      new Option(
        '--continuity <mode>',
        'replay, hold, bridge or auto; NIC=MODE for one NIC; may be repeated',
      ).argParser<ContinuityOption | undefined>((text, before) => continuityOption(text, before ?? {})),
    )
    .option('--strategy <strategy>', 'precopy, postcopy or auto')
    .option(
      '--on-loss <policy>',
      'when the new device cannot have all that was set: adapt (default) or refuse',
    )
    .option('--max-bandwidth <bytes/s>', 'of the copy; 0 for no limit', wholeNumber('--max-bandwidth', 0))
    .option('--downtime-limit <ms>', 'the blackout to aim at', wholeNumber('--downtime-limit', 1))
    .addOption(
      new Option(
        '--tune <KEY=VALUE>',
        'a threshold of the strategy (docs/memory.md); may be repeated',
      ).argParser<StrategyTuning | undefined>((text, before) => tuningOption(text, before ?? {})),
    )
    .option(
      '--persist',
      'have the interface the same after a reboot of the guest: write its network configuration',
    )
    .option('--dry-run', 'stop after preflight and print the plan')
    .option('--plan-out <file>', 'write the plan that --plan takes')
    .option('--plan <file>', 'do what a plan says; other options may only repeat it')
    .option('--hold', 'ask before the hand-over; without a terminal, wait for a line on standard input')
    .option('--probe', 'watch connections from outside while it moves')
    .option(
      '--bulk-rate <bytes/s>',
      'of each of the two bulk connections of --probe',
      wholeNumber('--bulk-rate', 1000),
      200_000,
    )
    .option('--report <file>', 'write a page about the migration')
    .option('--detach', 'with --host: return when the daemon has accepted it')
    .option('--when-it-comes', 'with --host: wait where the VM is not on that host yet')
    .option('--json', 'one JSON object per line')
    .action(migrate);
  addRemoteOptions(command);
}
