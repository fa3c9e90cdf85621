/** `shadowferry demo`: two hosts on this machine, a VM with a direct NIC, traffic from outside, and one migration. */
import type { Command } from 'commander';
import { cacheDirectory } from '../base/cache-dir.ts';
import { deadline } from '../base/deadline.ts';
import { probeAccelerator } from '../hypervisor/qemu/accelerator.ts';
import { modelIdentity } from '../hypervisor/qemu/pci.ts';
import { Lab } from '../lab/lab.ts';
import { enterUserNamespace } from '../lab/network/userns.ts';
import { parseRequest } from '../migration/request.ts';
import { cancelOnSignal, checkWritable, memoryMiB, say, standbyOf, wholeNumber } from './options.ts';
import { showMigration } from './show-migration.ts';

interface Options {
  from: string;
  to: string;
  continuity: string;
  strategy: string;
  standby: string;
  memory: number;
  json?: boolean;
  dryRun?: boolean;
  report?: string;
  bulkRate: number;
}

const QEMU = 'qemu-system-x86_64';

/** Everything that can be wrong with the input, before anything is built. */
async function check(options: Options, signal: AbortSignal) {
  const request = parseRequest({
    vm: 'web1',
    destination: 'b',
    continuity: options.continuity,
    strategy: options.strategy,
    dryRun: options.dryRun ?? false,
  });
  const standby = standbyOf(options.standby);
  checkWritable('--report', options.report);
  for (const [field, model] of [
    ['--from', options.from],
    ['--to', options.to],
  ] as const) {
    await modelIdentity({ binary: QEMU, machine: 'q35', model, field, signal });
  }
  return { request, standby };
}

async function demo(options: Options): Promise<void> {
  await enterUserNamespace();
  const cancel = cancelOnSignal();
  const { request, standby } = await check(options, deadline('checking the input', 30_000, cancel));
  const { kind: accelerator } = await probeAccelerator({
    signal: deadline('probing the accelerator', 30_000, cancel),
    binary: QEMU,
    cacheDir: cacheDirectory(),
  });
  await using lab = await Lab.create({
    cacheDir: cacheDirectory(),
    devices: { a: [options.from], b: [options.to] },
    log: say,
    qemu: { binary: QEMU, accelerator },
  });
  say(
    `Two hosts, "a" with ${options.from} and "b" with ${options.to}, and a peer outside. Booting VM "web1" on a (${accelerator}).`,
  );
  const vm = await lab.boot({ memoryMiB: options.memory, standby });
  say('It runs. Opening connections from outside; then it moves to b.');
  await showMigration({
    lab,
    vm,
    request,
    cancel,
    json: options.json ?? false,
    observe: true,
    bulkRate: options.bulkRate,
    report: options.report,
  });
}

export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description('move a VM with a direct NIC between two hosts made on this machine, under traffic')
    .option('--from <model>', "QEMU model of the source's device", 'e1000e')
    .option('--to <model>', "QEMU model of the destination's device", 'vmxnet3')
    .option('--continuity <mode>', 'replay, hold, bridge or auto', 'bridge')
    .option('--strategy <strategy>', 'precopy, postcopy or auto', 'auto')
    .option('--standby <kind>', 'none, virtio or failover', 'virtio')
    .option('--memory <MiB>', "the VM's memory", memoryMiB, 256)
    .option(
      '--bulk-rate <bytes/s>',
      'of each of the two bulk connections',
      wholeNumber('--bulk-rate', 1000),
      200_000,
    )
    .option('--report <file>', 'write a page about the migration')
    .option('--dry-run', 'stop after preflight')
    .option('--json', 'one JSON object per line')
    .action(demo);
}
