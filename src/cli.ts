#!/usr/bin/env node
/** The command line: registers the commands, and turns every failure into one line, a way out, and an exit code. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { z } from 'zod';
import { pathWithSystemDirectories } from './base/find-program.ts';
import { registerAttach } from './commands/attach.ts';
import { registerDaemon } from './commands/daemon.ts';
import { registerDemo } from './commands/demo.ts';
import { registerDevices } from './commands/devices.ts';
import { registerDoctor } from './commands/doctor.ts';
import { registerExplain } from './commands/explain.ts';
import { registerLab } from './commands/lab.ts';
import { registerMigrate } from './commands/migrate.ts';
import { registerMigrations } from './commands/migrations.ts';
import { registerPki } from './commands/pki.ts';
import { addRemoteOptions, refuseRemote } from './commands/remote.ts';
import { registerShadow } from './commands/shadow.ts';
import { registerSwap } from './commands/swap.ts';
import { registerToken } from './commands/token.ts';
import { registerVm } from './commands/vm.ts';
import { ShadowferryError, toShadowferryError } from './errors.ts';

function version(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

/** Writes the error where the user or the calling program looks for it. */
function report(error: ShadowferryError, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify({ type: 'error', ...error.toJSON() })}\n`);
  else process.stderr.write(`shadowferry: ${error.message} (${error.code})\n  ${error.fix}\n`);
  // What is no error of the catalogue is a defect; its stack helps whoever looks into it.
  if (error.code === 'INTERNAL' && error.cause instanceof Error)
    process.stderr.write(`${error.cause.stack}\n`);
}

function toError(error: unknown): ShadowferryError {
  if (!(error instanceof CommanderError)) return toShadowferryError(error);
  const problem = error.message.replace(/^error: /, '');
  return new ShadowferryError('INPUT_FIELD', { field: 'command line', problem }, { cause: error });
}

async function main(args: readonly string[]): Promise<void> {
  process.env.PATH = pathWithSystemDirectories(process.env.PATH ?? '');
  const program = new Command('shadowferry')
    .description('Live migration for virtual machines that use direct-access devices')
    .version(version())
    .enablePositionalOptions() // a command's options are its own, whatever those of the program are called
    .exitOverride()
    .configureOutput({ outputError: () => {} }); // `report` says it
  addRemoteOptions(program);
  program.hook('preAction', (_, command) => refuseRemote(command));
  registerDemo(program);
  registerDoctor(program);
  registerDevices(program);
  registerLab(program);
  registerMigrate(program);
  registerSwap(program);
  registerAttach(program);
  registerMigrations(program);
  registerExplain(program);
  registerShadow(program);
  registerDaemon(program);
  registerPki(program);
  registerToken(program);
  registerVm(program);
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    // Help and version are asked for, and end like an error.
    if (error instanceof CommanderError && (error.exitCode === 0 || error.code === 'commander.help')) {
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    const known = toError(error);
    report(known, args.includes('--json'));
    process.exitCode = known.exitCode;
  }
}

await main(process.argv.slice(2));
