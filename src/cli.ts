#!/usr/bin/env node
/** The command line: registers the commands, and turns every failure into one line, a way out, and an exit code. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { z } from 'zod';
import { pathWithSystemDirectories } from './base/find-program.ts';
import { registerDaemon } from './commands/daemon.ts';
import { addRemoteOptions, refuseRemote } from './commands/remote.ts';
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
  // the daemon runs for years beside the VMs: it does not load what the other commands need
  if (args[0] === 'daemon') registerDaemon(program);
  else (await import('./commands/all.ts')).registerAll(program);
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
