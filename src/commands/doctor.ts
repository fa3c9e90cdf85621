/** `shadowferry doctor`: what this machine has and lacks. */
import type { Command } from 'commander';
import { cacheDirectory } from '../base/cache-dir.ts';
import type { Check } from '../base/check.ts';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import { machineChecks, passthroughChecks, readMachine } from '../host/doctor/machine.ts';
import { networkChecks, tryNetworks } from '../host/doctor/network.ts';
import { findTools, TOOLS, toolChecks } from '../host/doctor/tools.ts';
import { type Accelerator, probeAccelerator } from '../hypervisor/qemu/accelerator.ts';
import { probeQemu, type QemuCapabilities } from '../hypervisor/qemu/capabilities.ts';
import { qemuChecks, qemuFailure } from '../hypervisor/qemu/checks.ts';
import { renderChecks } from './doctor-table.ts';

/** The whole look-round may take this long (ms); it takes a second, and an accelerator's time limit once. */
const LIMIT = 30_000;

interface Options {
  json?: boolean;
  fresh?: boolean;
  qemu: string;
}

interface Qemu {
  checks: Check[];
  capabilities?: QemuCapabilities;
  accelerator?: Accelerator;
}

async function examineQemu(path: string, fresh: boolean, signal: AbortSignal): Promise<Qemu> {
  try {
    const capabilities = await probeQemu(path, { signal });
    const cacheDir = cacheDirectory();
    const accelerator = await probeAccelerator({ signal, binary: path, cacheDir, fresh });
    return { checks: qemuChecks(capabilities, path, accelerator), capabilities, accelerator };
  } catch (error) {
    signal.throwIfAborted();
    return { checks: [qemuFailure(error)] };
  }
}

/** Why the demo cannot run; undefined when it can. */
export function verdict(checks: readonly Check[]): ShadowferryError | undefined {
  const missing = checks.filter(({ state }) => state === 'missing');
  if (missing.length === 0) return undefined;
  const tools = TOOLS.filter(({ name }) => missing.some((check) => check.name === name));
  if (tools.length === missing.length) {
    const packages = [...new Set(tools.map((tool) => tool.package))].join(' ');
    const install = `Run: sudo apt-get install -y --no-install-recommends ${packages}`;
    return new ShadowferryError('TOOL_MISSING', { tool: tools.map(({ name }) => name).join(', '), install });
  }
  const what = missing.map(({ name, detail }) => `${name} (${detail})`).join('; ');
  return new ShadowferryError('MACHINE_LACKS', { what, fix: missing.map(({ fix }) => fix).join(' ') });
}

async function doctor(options: Options): Promise<void> {
  const signal = deadline('looking round this machine', LIMIT);
  const tools = findTools();
  const path = options.qemu === 'qemu-system-x86_64' ? tools.get(options.qemu) : options.qemu;
  // One after the other: they would slow each other down, and the accelerator's trial has a clock.
  const qemu = path === undefined ? { checks: [] } : await examineQemu(path, options.fresh ?? false, signal);
  const networks = await tryNetworks(signal);
  const machine = readMachine(cacheDirectory());
  const checks = [
    ...machineChecks(machine),
    ...toolChecks(tools),
    ...qemu.checks,
    ...networkChecks(networks),
    ...passthroughChecks(machine),
  ];
  const error = verdict(checks);
  if (options.json) {
    const { capabilities, accelerator } = qemu;
    process.stdout.write(
      `${JSON.stringify({ type: 'doctor', ok: error === undefined, checks, qemu: capabilities, accelerator })}\n`,
    );
  } else {
    const { stdout } = process;
    process.stdout.write(renderChecks(checks, stdout.columns ?? 100, stdout.isTTY && stdout.hasColors()));
    if (!error) process.stdout.write('\nThis machine can run the demo: npm run demo\n');
  }
  if (error) throw error;
}

/** Adds the command to the program. */
export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('show what this machine has and lacks')
    .option('--json', 'print one line of JSON')
    .option('--fresh', 'try the accelerator again instead of using the kept answer')
    .option('--qemu <program>', 'the QEMU to look at', 'qemu-system-x86_64')
    .action(doctor);
}
