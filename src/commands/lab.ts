/** `shadowferry lab up|status|down`: two hosts on this machine that stay, with VM "web1" on the first. */
import type { Command } from 'commander';
import { cacheDirectory } from '../base/cache-dir.ts';
import { deadline } from '../base/deadline.ts';
import { shellCommand } from '../base/shell-quote.ts';
import { ShadowferryError } from '../errors.ts';
import { probeAccelerator } from '../hypervisor/qemu/accelerator.ts';
import { modelIdentity } from '../hypervisor/qemu/pci.ts';
import { type Lab, labDevice, type NicOptions } from '../lab/lab.ts';
import { enterUserNamespace } from '../lab/network/userns.ts';
import {
  createStandingLab,
  openStandingLab,
  refuseSecondLab,
  removeStandingLab,
  wayIn,
} from '../lab/standing.ts';
import { type LabStatus, labStatus } from '../lab/status.ts';
import { disconnectVm } from '../migration/vm.ts';
import { fixedStateDirectory, memoryMiB, print, say, standbyOf, wholeNumber } from './options.ts';

const QEMU = 'qemu-system-x86_64';
const CHECK_MS = 30_000;

interface UpOptions {
  devicesA: string;
  devicesB: string;
  memory: number;
  standby: string;
  nics: number;
  json?: boolean;
}

/**
 * The models of a list that is separated by commas, as a model's options are: `e1000e,virtio-net-pci,queues=2` are two.
 * @throws INPUT_FIELD
 */
export function splitModels(field: string, text: string): string[] {
  const models: string[] = [];
  for (const word of text.split(',').map((each) => each.trim())) {
    const before = models.at(-1);
    if (word.includes('=') && before !== undefined) models[models.length - 1] = `${before},${word}`;
    else models.push(word);
  }
  if (models.some((model) => /^(,|$|[^,]*=)/.test(model))) {
    const problem = `"${text}" is not a list of models, separated by commas, each followed by its options if any`;
    throw new ShadowferryError('INPUT_FIELD', { field, problem });
  }
  return models;
}

/** @throws INPUT_FIELD, UNKNOWN_MODEL */
async function modelsOf(field: string, text: string, signal: AbortSignal): Promise<string[]> {
  const models = splitModels(field, text);
  for (const { model, network } of models.map(labDevice)) {
    if (!/^[a-z][a-z0-9-]{0,11}$/.test(network)) {
      const problem = `"${network}" is no name of a network: lower-case letters, digits and dashes, at most 12`;
      throw new ShadowferryError('INPUT_FIELD', { field, problem });
    }
    await modelIdentity({ binary: QEMU, machine: 'q35', model, field, signal });
  }
  return models;
}

function nicLine(nic: LabStatus['vms'][number]['nics'][number]): string {
  const { id, standby, direct, network, address } = nic;
  const beside = `${standby === 'none' ? 'no standby' : `standby ${standby}`}, ${address} on ${network}`;
  if (direct === null) return `${id}: ${beside}`;
  const plugged = direct.plugged ? '' : ', NOT PLUGGED';
  return `${id}: ${direct.device} (${direct.model}${plugged}), ${beside}`;
}

/** What there is in a lab, for people. Pure. */
export function renderLab({ directory, hosts, vms, guest }: LabStatus): string {
  const lines = [`The lab is in ${directory}`];
  for (const { name, devices } of hosts) {
    lines.push(`  host ${name}`);
    for (const { id, model, network, claimedBy } of devices) {
      lines.push(
        `    ${id}  ${model} on ${network}  ${claimedBy === null ? 'free' : `claimed by ${claimedBy}`}`,
      );
    }
  }
  for (const vm of vms) {
    lines.push(`  VM ${vm.name}: ${vm.state} on ${vm.owner}, epoch ${vm.epoch}`);
    if (vm.degraded !== null) lines.push(`    degraded: ${vm.degraded}`);
    lines.push(...vm.nics.map((nic) => `    ${nicLine(nic)}`));
    if (vm.console !== null) lines.push(`    console: ${vm.console}`);
  }
  const ports = Object.entries(guest.ports).map(([service, port]) => `${port} (${service})`);
  lines.push(`  the guest is ${guest.address} and ${guest.address6}, TCP ports ${ports.join(', ')}`);
  lines.push(`    ${shellCommand([...guest.from, 'ping', '-c', '1', guest.address])}`);
  return `${lines.join('\n')}\n`;
}

async function show(lab: Lab, json: boolean): Promise<void> {
  const status = await labStatus(lab, wayIn(fixedStateDirectory()));
  if (json) print(JSON.stringify({ type: 'lab', ...status }));
  else process.stdout.write(renderLab(status));
}

async function up(options: UpOptions): Promise<void> {
  const state = fixedStateDirectory();
  refuseSecondLab(state);
  await enterUserNamespace();
  const standby = standbyOf(options.standby);
  const signal = deadline('checking the input', CHECK_MS);
  const devices = {
    a: await modelsOf('--devices-a', options.devicesA, signal),
    b: await modelsOf('--devices-b', options.devicesB, signal),
  };
  if (options.nics > devices.a.length) {
    const problem = `${options.nics} direct NICs need as many devices on host a, and --devices-a has ${devices.a.length}`;
    throw new ShadowferryError('INPUT_FIELD', { field: '--nics', problem });
  }
  const more = devices.a
    .slice(1, options.nics)
    .map((_, n): NicOptions => ({ device: `nic${n + 1}`, standby }));
  const cacheDir = cacheDirectory();
  const probing = deadline('probing the accelerator', CHECK_MS);
  const { kind: accelerator } = await probeAccelerator({ signal: probing, binary: QEMU, cacheDir });
  const qemu = { binary: QEMU, accelerator };
  const lab = await createStandingLab(state, { cacheDir, devices, log: say, qemu });
  try {
    say(`Two hosts, "a" and "b". Booting VM "web1" on a (${accelerator}).`);
    await disconnectVm(await lab.boot({ memoryMiB: options.memory, standby, nics: more }));
    await show(lab, options.json ?? false);
  } catch (error) {
    lab.close();
    await removeStandingLab(state);
    throw error;
  }
  lab.close();
}

async function status(options: { json?: boolean }): Promise<void> {
  const lab = await openStandingLab(fixedStateDirectory());
  try {
    await show(lab, options.json ?? false);
  } finally {
    lab.close();
  }
}

async function down(options: { json?: boolean }): Promise<void> {
  const removed = await removeStandingLab(fixedStateDirectory());
  if (options.json) print(JSON.stringify({ type: 'lab', removed: removed ?? null }));
  else print(removed === undefined ? 'There is no lab.' : `The lab in ${removed} is gone.`);
}

export function registerLab(program: Command): void {
  const lab = program
    .command('lab')
    .description('two hosts on this machine that stay until they are taken down');
  lab
    .command('up')
    .description('start the lab and boot VM "web1" on host a')
    .option(
      '--devices-a <models>',
      'QEMU models of host a, separated by commas, each with its options if any (virtio-net-pci,queues=2); MODEL@NETWORK for one on another network than lan',
      'e1000e',
    )
    .option('--devices-b <models>', 'QEMU models of host b', 'vmxnet3')
    .option('--memory <MiB>', "the VM's memory", memoryMiB, 256)
    .option(
      '--nics <number>',
      'direct NICs of the VM: the first devices of host a',
      wholeNumber('--nics', 1, 8),
      1,
    )
    .option('--standby <kind>', 'none, virtio or failover', 'virtio')
    .option('--json', 'print one line of JSON')
    .action(up);
  lab
    .command('status')
    .description('show hosts, devices, VMs and how to reach the guest')
    .option('--json', 'print one line of JSON')
    .action(status);
  lab
    .command('down')
    .description('end the VMs and remove the lab; does nothing when there is none')
    .option('--json', 'print one line of JSON')
    .action(down);
}
