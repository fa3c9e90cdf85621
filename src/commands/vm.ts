/** `shadowferry vm`: the VMs of a host, through its daemon. */
import { readFile } from 'node:fs/promises';
import { text as readStream } from 'node:stream/consumers';
import type { Command } from 'commander';
import { parse as parseYaml } from 'yaml';
import type { z } from 'zod';
import { API } from '../daemon/api/contract.ts';
import { AdoptRequest, type Vm, VmDefinition, type VmDetail } from '../daemon/api/model-vms.ts';
import type { DaemonClient } from '../daemon/client/client.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { parseFields } from '../migration/request.ts';
import { deviceMap, print, wholeNumber } from './options.ts';
import { addRemoteOptions, daemonOf } from './remote.ts';
import { harmless, renderVm, renderVms } from './show-vm.ts';

interface Common {
  json?: boolean;
}

/** What a file may say of a VM that is adopted, beside the options. */
const Added = AdoptRequest.pick({ firmwareFiles: true, guest: true });

const Nothing = {};
const of = (vm: string) => ({ params: { vm }, query: Nothing });

/** `NIC=NETWORK`, repeated. @throws INPUT_FIELD */
function networkMap(text: string, before: Record<string, string>): Record<string, string> {
  const [nic = '', network = '', ...rest] = text.split('=');
  if (nic !== '' && network !== '' && rest.length === 0) return { ...before, [nic]: network };
  throw new ShadowferryError('INPUT_FIELD', { field: '--network', problem: `"${text}" is not NIC=NETWORK` });
}

/** Text of a file, or of standard input for `-`. @throws INPUT_FIELD */
async function textOf(file: string): Promise<string> {
  try {
    return file === '-' ? await readStream(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    throw new ShadowferryError('INPUT_FIELD', {
      field: file,
      problem: `it cannot be read: ${reasonOf(error)}`,
    });
  }
}

/** What a YAML (or JSON) text says, as a schema takes it. @throws INPUT_FIELD with everything that does not fit */
export function parseText<S extends z.ZodType>(schema: S, file: string, text: string): z.output<S> {
  const refuse = (problem: string) => new ShadowferryError('INPUT_FIELD', { field: file, problem });
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (error) {
    throw refuse(reasonOf(error).split('\n')[0] ?? 'it is not YAML');
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'the file'}: ${message}`,
  );
  throw refuse(problems.join('; '));
}

function show(vm: VmDetail, { json }: Common): void {
  if (json) print(JSON.stringify({ type: 'vm', vm }));
  else process.stdout.write(renderVm(vm));
}

function changed(vm: Vm & { reason: string }, { json }: Common): void {
  if (json) print(JSON.stringify({ type: 'vm', vm }));
  else print(`${vm.name} on ${vm.host} is ${vm.state}: ${harmless(vm.reason)}`);
}

async function define(
  file: string,
  options: Common & { replace?: boolean },
  command: Command,
): Promise<void> {
  const wanted = parseText(VmDefinition, file, await textOf(file));
  const body = { ...wanted, replace: wanted.replace || options.replace === true };
  const client = await daemonOf(command);
  show(await client.call(API.defineVm, { params: Nothing, query: Nothing, body }), options);
}

interface AdoptOptions extends Common {
  name?: string;
  device: Record<string, string>;
  network: Record<string, string>;
  with?: string;
}

async function adopt(socket: string, options: AdoptOptions, command: Command): Promise<void> {
  const more = options.with === undefined ? {} : parseText(Added, options.with, await textOf(options.with));
  const { name, device: devices, network: networks } = options;
  const asked = { ...more, socket, devices, networks, ...(name === undefined ? {} : { name }) };
  const body = parseFields(AdoptRequest, asked);
  const client = await daemonOf(command);
  show(await client.call(API.adoptVm, { params: Nothing, query: Nothing, body }), options);
}

async function list(options: Common, command: Command): Promise<void> {
  const client = await daemonOf(command);
  const vms: Vm[] = [];
  for await (const vm of client.items(API.listVms, (cursor) => ({
    params: Nothing,
    query: { cursor, limit: 200 },
  })))
    vms.push(vm);
  if (options.json) print(JSON.stringify({ type: 'vms', vms }));
  else process.stdout.write(renderVms(vms));
}

async function showOne(name: string, options: Common, command: Command): Promise<void> {
  show(await (await daemonOf(command)).call(API.getVm, of(name)), options);
}

async function start(name: string, options: Common & { override?: string }, command: Command): Promise<void> {
  const body = options.override === undefined ? {} : { override: { why: options.override } };
  changed(await (await daemonOf(command)).call(API.startVm, { ...of(name), body }), options);
}

async function resume(
  name: string,
  options: Common & { override?: string },
  command: Command,
): Promise<void> {
  const body = options.override === undefined ? {} : { override: { why: options.override } };
  changed(await (await daemonOf(command)).call(API.resumeVm, { ...of(name), body }), options);
}

async function pause(name: string, options: Common, command: Command): Promise<void> {
  changed(await (await daemonOf(command)).call(API.pauseVm, { ...of(name), body: {} }), options);
}

async function stop(
  name: string,
  options: Common & { force?: boolean; wait: number },
  command: Command,
): Promise<void> {
  const body = { force: options.force === true, waitSeconds: options.wait };
  changed(await (await daemonOf(command)).call(API.stopVm, { ...of(name), body }), options);
}

async function forget(name: string, options: Common, command: Command): Promise<void> {
  const done = await (await daemonOf(command)).call(API.forgetVm, of(name));
  if (options.json) print(JSON.stringify({ type: 'forgotten', ...done }));
  else print(`${done.vm} is forgotten here; its record was ${done.record}, as ${done.why}`);
}

async function takeOver(name: string, options: Common & { why: string }, command: Command): Promise<void> {
  const body = { why: options.why };
  const owned = await (await daemonOf(command)).call(API.takeOverVm, { ...of(name), body });
  if (options.json) print(JSON.stringify({ type: 'ownership', ...owned }));
  else print(`${owned.vm} belongs to ${owned.owner} (epoch ${owned.epoch}); nothing was started`);
}

/** How long the daemon waits for more, s. */
const FOLLOW_SECONDS = 20;

async function readAll(
  client: DaemonClient,
  name: string,
  options: { follow?: boolean; bytes: number; raw?: boolean; json?: boolean },
): Promise<void> {
  const piece = (query: { from?: number; bytes: number; waitSeconds?: number }) =>
    client.call(API.readConsole, { params: { vm: name }, query });
  let part = await piece({ bytes: options.bytes });
  for (;;) {
    if (options.json) print(JSON.stringify({ type: 'console', ...part }));
    else process.stdout.write(options.raw ? part.text : harmless(part.text));
    const atEnd = part.next >= part.size;
    if (!options.follow || (atEnd && !part.live)) return;
    part = await piece({ from: part.next, bytes: options.bytes, waitSeconds: FOLLOW_SECONDS });
  }
}

async function showConsole(
  name: string,
  options: { follow?: boolean; bytes: number; raw?: boolean; json?: boolean },
  command: Command,
): Promise<void> {
  await readAll(await daemonOf(command), name, options);
}

export function registerVm(program: Command): void {
  const vm = program.command('vm').description('the VMs of a host, through its daemon');
  const add = (name: string, text: string) =>
    addRemoteOptions(vm.command(name).description(text).option('--json', 'print one line of JSON'));
  const override = [
    '--override <why>',
    'where the ownership store cannot be asked: run it all the same, and why',
  ] as const;
  add('define', 'make a VM known to the host; nothing is started')
    .argument('<file>', 'what it is, in YAML or JSON; - for standard input')
    .option('--replace', 'define anew one of this name that does not run')
    .action(define);
  add('adopt', 'take in a QEMU that runs already; it says what can be done with it and what cannot')
    .argument('<socket>', 'its QMP socket, which no other program uses')
    .option('--name <name>', "instead of QEMU's own name of it")
    .option('--device <nic=device>', 'the device of this host behind a NIC; may be repeated', deviceMap, {})
    .option('--network <nic=network>', 'the network of a NIC, where it is not lan', networkMap, {})
    .option('--with <file>', 'what QEMU does not say, in YAML: firmwareFiles, guest')
    .action(adopt);
  add('list', 'list the VMs that the host knows').action(list);
  add('show', 'show one VM, and what can be done with it').argument('<vm>').action(showOne);
  add('start', 'start a VM, if its record allows it')
    .argument('<vm>')
    .option(...override)
    .action(start);
  add('stop', 'ask the guest to shut down, and end QEMU when it does not')
    .argument('<vm>')
    .option('--force', 'end QEMU at once')
    .option('--wait <seconds>', 'for the guest to shut down', wholeNumber('--wait', 1, 50), 30)
    .action(stop);
  add('pause', 'stop the vCPUs of a VM').argument('<vm>').action(pause);
  add('resume', 'let the vCPUs of a VM run on, if its record allows it')
    .argument('<vm>')
    .option(...override)
    .action(resume);
  add('forget', 'forget a VM that does not run here').argument('<vm>').action(forget);
  add('take-over', 'move the record of a VM here from a host that is dead for certain')
    .argument('<vm>')
    .requiredOption('--why <text>', 'how that is known; it is kept')
    .action(takeOver);
  add('console', 'show what the guest wrote on its serial console')
    .argument('<vm>')
    .option('--follow', 'go on as it comes')
    .option('--bytes <number>', 'how much of it, from the end', wholeNumber('--bytes', 1, 1_048_576), 16_384)
    .option('--raw', 'with its control characters, which may change your terminal')
    .action(showConsole);
}
