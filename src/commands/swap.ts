/** `shadowferry swap` and `shadowferry rescue`: another device of the same host behind an interface of a VM. */
import { hostname, release } from 'node:os';
import type { Command } from 'commander';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import type { Lab } from '../lab/lab.ts';
import { watchGuest } from '../lab/scenario.ts';
import { parseFields } from '../migration/request.ts';
import { swapDevice } from '../migration/swap/engine.ts';
import { type GuardOptions, guardDevice } from '../migration/swap/guard.ts';
import { lastKnownShadow } from '../migration/swap/history.ts';
import { localSite } from '../migration/swap/local-site.ts';
import type { SwapKind } from '../migration/swap/machine.ts';
import { SwapRequest } from '../migration/swap/request.ts';
import { vmSite } from '../migration/swap/vm-site.ts';
import type { RunningVm } from '../migration/vm.ts';
import type { MigrationReport } from '../report/model.ts';
import { cancelOnSignal, checkWritable, print, say, wholeNumber } from './options.ts';
import type { ProgressView } from './progress.ts';
import { addRemoteOptions, refuseWithoutHost, remoteOf, rootHost } from './remote.ts';
import { refuseHere, swapRemotely } from './remote-work.ts';
import { type ShowSwapOptions, showSwap, swapProgress, tellSwap } from './show-swap.ts';
import { withVm } from './standing-vm.ts';
import { withThisMachine } from './this-machine.ts';

interface Options {
  with: string;
  continuity?: string;
  onLoss?: string;
  limit?: number;
  dryRun?: boolean;
  persist?: boolean;
  probe?: boolean;
  bulkRate: number;
  report?: string;
  json?: boolean;
  watch?: boolean;
  local?: boolean;
  every: number;
  detach?: boolean;
}

const ASK_MS = 30_000;

/** What is asked for, by the command line. Pure. @throws INPUT_FIELD, UNKNOWN_MODE */
export function swapRequestOf(
  kind: SwapKind,
  vm: string,
  device: string | undefined,
  options: Pick<Options, 'with' | 'continuity' | 'onLoss' | 'dryRun' | 'limit' | 'persist'>,
): SwapRequest {
  const { continuity, onLoss, limit } = options;
  return parseFields(SwapRequest, {
    ...{ kind, vm, with: options.with, dryRun: options.dryRun ?? false, persist: options.persist ?? false },
    ...(device === undefined ? {} : { device }),
    ...(continuity === undefined ? {} : { continuity }),
    ...(onLoss === undefined ? {} : { onLoss }),
    ...(limit === undefined ? {} : { limits: { attachMs: limit } }),
  });
}

function about(lab: Lab, vm: RunningVm): MigrationReport['host'] {
  const { major, minor, micro } = vm.qemu.monitor.version;
  const { accelerator } = vm.host.qemu;
  return { qemu: `${major}.${minor}.${micro}`, accelerator, kernel: lab.image.kernelVersion };
}

async function run(
  kind: SwapKind,
  name: string | undefined,
  device: string | undefined,
  options: Options,
  command: Command,
): Promise<void> {
  if (name === undefined || name === '') {
    const field = options.local ? 'device' : 'vm';
    throw new ShadowferryError('INPUT_FIELD', { field, problem: 'is missing' });
  }
  if (options.local) {
    if (rootHost(command) !== undefined)
      throw new ShadowferryError('INPUT_FIELD', {
        field: '--local',
        problem: 'is about this machine, not about one whose daemon is asked',
      });
    return runLocal(kind, name, device, options);
  }
  const request = swapRequestOf(kind, name, device, options);
  const remote = await remoteOf(command);
  if (remote !== undefined) {
    refuseHere({ '--probe': options.probe, '--report': options.report, '--watch': options.watch });
    const how = { json: options.json ?? false, detach: options.detach ?? false };
    return swapRemotely(remote, request, how);
  }
  refuseWithoutHost({ '--detach': options.detach });
  checkWritable('--report', options.report);
  await withVm(
    name,
    () => {},
    async (lab, vm) => {
      const cancel = cancelOnSignal();
      const { ownership, journal, abilities, shadows } = lab;
      const site = await vmSite(request, { vm, ownership, signal: deadline('asking QEMU', ASK_MS, cancel) });
      const json = options.json ?? false;
      const shown = { kind, site, json, report: options.report, about: about(lab, vm) };
      if (kind === 'rescue' && options.watch) {
        const given = { request, site, journal, abilities, shadows, signal: cancel };
        return standGuard(shown, given, options.every * 1000);
      }
      const lastKnown = kind === 'rescue' ? lastKnownShadow(shadows, name, site.nic) : undefined;
      await showSwap({
        ...shown,
        ...(options.probe && !request.dryRun ? { watch: () => watchGuest(lab, options.bulkRate) } : {}),
        act: (emit) => swapDevice(request, { site, journal, abilities, shadows, emit, cancel, lastKnown }),
      });
    },
  );
}

/** The machine on which we run: the first word is the device. */
async function runLocal(
  kind: SwapKind,
  device: string,
  extra: string | undefined,
  options: Options,
): Promise<void> {
  if (extra !== undefined)
    throw new ShadowferryError('INPUT_FIELD', { field: extra, problem: 'with --local there is no VM' });
  if (options.probe)
    throw new ShadowferryError('INPUT_FIELD', { field: '--probe', problem: 'watches VMs of the lab only' });
  const request = swapRequestOf(kind, hostname(), device, options);
  checkWritable('--report', options.report);
  await withThisMachine(async ({ journal, abilities, shadows }) => {
    const last = (nic: string) => lastKnownShadow(shadows, hostname(), nic);
    await using site = await localSite(request, (nic) => last(nic)?.shadow.hardware?.mac);
    const cancel = cancelOnSignal();
    const json = options.json ?? false;
    const host = { qemu: 'none', accelerator: 'none', kernel: release() };
    const shown = { kind, site, json, report: options.report, about: host };
    const given = { site, journal, abilities, shadows };
    if (kind === 'rescue' && options.watch)
      return standGuard(shown, { request, ...given, signal: cancel }, options.every * 1000);
    const lastKnown = kind === 'rescue' ? last(site.nic) : undefined;
    await showSwap({ ...shown, act: (emit) => swapDevice(request, { ...given, emit, cancel, lastKnown }) });
  });
}

/** Watches until the device dies, and shows the rescue. */
async function standGuard(
  shown: Pick<ShowSwapOptions, 'kind' | 'site' | 'json' | 'report' | 'about'>,
  given: Omit<GuardOptions, 'refreshMs' | 'emit' | 'say'>,
  refreshMs: number,
): Promise<void> {
  let view: ProgressView | undefined;
  const result = await guardDevice({
    ...given,
    refreshMs,
    emit: (event) => {
      view ??= swapProgress(shown.kind, shown.json); // a list of phases would look as if something went on
      view.emit(event);
    },
    say: (text) => (shown.json ? print(JSON.stringify({ type: 'watch', text })) : say(text)),
  });
  await view?.finish(result?.error?.message);
  if (result !== undefined) await tellSwap(result, undefined, shown);
  else if (shown.json) print(JSON.stringify({ type: 'ended', vm: shown.site.subject }));
  else say('The watch has ended; the device is alive.');
}

function withOptions(command: Command): Command {
  return addRemoteOptions(command)
    .requiredOption('--with <device>', 'the device that comes, by its name on the host')
    .option('--local', 'no VM: a NIC of this machine, by interface name or PCI address')
    .option('--continuity <mode>', 'replay, hold, bridge or auto')
    .option(
      '--on-loss <policy>',
      'when the new device cannot have all that was set: adapt (default) or refuse',
    )
    .option('--limit <ms>', 'longest wait for traffic on the new device', wholeNumber('--limit', 1))
    .option('--persist', 'have the interface the same after a reboot: write its network configuration')
    .option('--dry-run', 'stop after preflight and print the plan')
    .option('--probe', 'watch connections from outside meanwhile')
    .option(
      '--bulk-rate <bytes/s>',
      'of each of the two bulk connections of --probe',
      wholeNumber('--bulk-rate', 1000),
      200_000,
    )
    .option('--report <file>', 'write a page about it')
    .option('--detach', 'with --host: return when the daemon has accepted it')
    .option('--json', 'one JSON object per line');
}

export function registerSwap(program: Command): void {
  withOptions(
    program
      .command('swap')
      .description('put another device of the same host behind an interface, while connections live on')
      .argument('[vm]', 'the VM; with --local the device that leaves')
      .argument('[device]', 'the NIC, or the device that leaves; may be left out where there is one'),
  ).action((vm: string | undefined, device: string | undefined, options: Options, command: Command) =>
    run('swap', vm, device, options, command),
  );
  withOptions(
    program
      .command('rescue')
      .description('give an interface whose device died another one, with the last state that is known')
      .argument('[vm]', 'the VM; with --local the device that died')
      .argument('[nic]', 'the NIC; may be left out where there is one')
      .option('--watch', 'while the device is alive: stay, and do it without being asked when it dies')
      .option(
        '--every <seconds>',
        'with --watch: how often the state is looked at anew',
        wholeNumber('--every', 1, 86_400),
        60,
      ),
  ).action((vm: string | undefined, nic: string | undefined, options: Options, command: Command) =>
    run('rescue', vm, nic, options, command),
  );
}
