/** Options by which a command asks a daemon instead of the lab of this machine. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { DaemonClient } from '../daemon/client/client.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';

interface RemoteOptions {
  host?: string;
  tokenFile?: string;
  cert?: string;
  key?: string;
  ca?: string;
}

/** Adds the options. A token is never one of them: everybody sees the arguments of a process. */
export function addRemoteOptions(command: Command): Command {
  return command
    .option('--host <target>', 'ask the daemon at a Unix socket (a path) or at https://HOST:PORT')
    .option('--token-file <file>', 'file with the token; or the variable SHADOWFERRY_TOKEN')
    .option('--cert <file>', 'certificate of this user (PEM)')
    .option('--key <file>', 'its key (PEM)')
    .option('--ca <file>', 'certificate of the CA of the daemons (PEM)');
}

/** What was said before the command or after it, or by the environment. */
function remoteOptions(command: Command, env: NodeJS.ProcessEnv): RemoteOptions {
  const before = rootOf(command).opts<RemoteOptions>();
  const after = command.opts<RemoteOptions>();
  const pick = (name: keyof RemoteOptions, variable: string) =>
    after[name] ?? before[name] ?? (env[variable] || undefined);
  const found = {
    host: pick('host', 'SHADOWFERRY_HOST'),
    tokenFile: pick('tokenFile', 'SHADOWFERRY_TOKEN_FILE'),
    cert: pick('cert', 'SHADOWFERRY_CERT'),
    key: pick('key', 'SHADOWFERRY_KEY'),
    ca: pick('ca', 'SHADOWFERRY_CA'),
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

function rootOf(command: Command): Command {
  let at = command;
  while (at.parent !== null) at = at.parent;
  return at;
}

function read(field: string, file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ShadowferryError('INPUT_FIELD', {
      field,
      problem: `${file} cannot be read: ${reasonOf(error)}`,
    });
  }
}

/** The daemon that is to be asked; undefined when none was named. @throws INPUT_FIELD */
export async function remoteOf(
  command: Command,
  env: NodeJS.ProcessEnv = process.env,
): Promise<DaemonClient | undefined> {
  const { host, tokenFile, cert, key, ca } = remoteOptions(command, env);
  if (host === undefined) return undefined;
  // loaded when it is needed: commands on this machine do not wait for it
  const { DaemonClient: Client, parseTarget } = await import('../daemon/client/client.ts');
  const token = read('--token-file', tokenFile)?.trim() ?? env.SHADOWFERRY_TOKEN;
  return new Client({
    address: parseTarget('--host', host),
    token: token === '' ? undefined : token,
    certificate: read('--cert', cert),
    key: read('--key', key),
    ca: read('--ca', ca),
  });
}

/** Where the daemon of this machine is asked when none was named. */
const LOCAL_SOCKET = '/run/shadowferry/daemon.sock';

/** The daemon that was named, or that of this machine. @throws INPUT_FIELD */
export async function daemonOf(command: Command): Promise<DaemonClient> {
  const named = await remoteOf(command);
  if (named !== undefined) return named;
  const { DaemonClient: Client } = await import('../daemon/client/client.ts');
  return new Client({ address: LOCAL_SOCKET });
}

/** The daemon that was named on the command line, not by the environment. */
export function rootHost(command: Command): string | undefined {
  return command.opts<RemoteOptions>().host ?? rootOf(command).opts<RemoteOptions>().host;
}

/** @throws INPUT_FIELD when a daemon was named on the command line and this command asks none */
export function refuseRemote(command: Command): void {
  const { host } = rootOf(command).opts<RemoteOptions>();
  if (host === undefined || command.options.some(({ long }) => long === '--token-file')) return;
  const problem = `"${command.name()}" works on this machine only`;
  throw new ShadowferryError('INPUT_FIELD', { field: '--host', problem });
}

/** Options that mean something to a daemon only. @throws INPUT_FIELD */
export function refuseWithoutHost(options: Readonly<Record<string, unknown>>): void {
  for (const [field, value] of Object.entries(options)) {
    if (value === undefined || value === false) continue;
    throw new ShadowferryError('INPUT_FIELD', { field, problem: 'needs --host: it is for a daemon' });
  }
}

/** The daemon that is to be asked, for a command that does nothing without one. @throws INPUT_FIELD */
export async function needRemote(command: Command): Promise<DaemonClient> {
  const remote = await remoteOf(command);
  if (remote !== undefined) return remote;
  const problem = `is missing: "${command.name()}" asks a daemon`;
  throw new ShadowferryError('INPUT_FIELD', { field: '--host', problem });
}
