/** `shadowferry doctor`: what this machine has and lacks. */
import type { Command } from 'commander';
import type { Check } from '../base/check.ts';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import { TOOLS } from '../host/doctor/tools.ts';
import { examineMachine } from '../observe/examine.ts';
import { renderChecks } from './doctor-table.ts';

/** The whole look-round may take this long (ms); it takes a second, and an accelerator's time limit once. */
const LIMIT = 30_000;

interface Options {
  json?: boolean;
  fresh?: boolean;
  qemu: string;
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
  const { fresh = false, qemu: path } = options;
  const { checks, qemu } = await examineMachine({ qemu: path, fresh, networks: true, signal });
  const error = verdict(checks);
  if (options.json) {
    const { capabilities, accelerator } = qemu ?? {};
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
