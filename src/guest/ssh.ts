/**
 * A guest reached by SSH, for those whose agent may not run programs (RHEL's default). The system's own OpenSSH
 * client does the work: keys only, host keys must be known, nothing is asked.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { deadline } from '../base/deadline.ts';
import { pauseFor } from '../base/pause-for.ts';
import { shellCommand } from '../base/shell-quote.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { LocalShell } from './local.ts';
import { EXEC_TIMEOUT_MS, type ExecGuestOptions, type ExecGuestResult, type GuestShell } from './shell.ts';

/** How to reach a guest. None of it may look like an option. */
export const SshTarget = z.object({
  /** Name or address; of a network that does not move with the device, where there is one. */
  address: z.string().regex(/^[A-Za-z0-9[][A-Za-z0-9.:%_\]-]*$/, 'a host name or address'),
  port: z.number().int().min(1).max(65_535).default(22),
  /** Another than root must be allowed to run programs by `sudo -n`. */
  user: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_.-]*$/, 'a user name')
    .default('root'),
  /** Private key without a passphrase, or one that an agent holds. */
  identityFile: z.string().min(1),
  knownHostsFile: z.string().min(1),
});
export type SshTarget = z.infer<typeof SshTarget>;

/** Printed by the guest's shell after the command, so that the command's 255 is not taken for ssh's own. */
const EXIT = 'shadowferry-exit:';
const CONNECT_SECONDS = 5;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;

/** The words for ssh before the destination. Pure. */
export function sshOptions(target: SshTarget, controlPath: string): string[] {
  const options: [string, string | number][] = [
    ['BatchMode', 'yes'],
    ['StrictHostKeyChecking', 'yes'],
    ['UserKnownHostsFile', target.knownHostsFile],
    ['GlobalKnownHostsFile', '/dev/null'],
    ['IdentityFile', target.identityFile],
    ['IdentitiesOnly', 'yes'],
    ['PasswordAuthentication', 'no'],
    ['KbdInteractiveAuthentication', 'no'],
    ['ForwardAgent', 'no'],
    ['ClearAllForwardings', 'yes'],
    ['ConnectTimeout', CONNECT_SECONDS],
    ['ServerAliveInterval', 5],
    ['ServerAliveCountMax', 3],
    // one handshake for all commands: under emulation it takes a second
    ['ControlMaster', 'auto'],
    ['ControlPath', controlPath],
    ['ControlPersist', 30],
    ['LogLevel', 'ERROR'],
  ];
  return [
    '-F',
    '/dev/null', // nobody's own configuration
    '-T',
    ...options.flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    '-p',
    String(target.port),
    '-l',
    target.user,
  ];
}

/** What the guest's login shell is given, whichever shell that is. Pure. */
export function remoteCommand(
  argv: readonly [string, ...string[]],
  options: { user: string; env?: ExecGuestOptions['env'] },
): string {
  const env =
    options.env === undefined
      ? []
      : ['env', '-i', ...Object.entries(options.env).map(([name, value]) => `${name}=${value}`)];
  const asRoot = options.user === 'root' ? [] : ['sudo', '-n', '--'];
  const command = shellCommand([...asRoot, ...env, ...argv]);
  return shellCommand(['sh', '-c', `${command}\nprintf '\\n${EXIT}%s\\n' "$?" >&2`]);
}

/** Parts what the command said on stderr from how it ended; nothing when it never ran to its end. Pure. */
export function readExit(stderr: string): { code: number; stderr: string } | undefined {
  const at = stderr.lastIndexOf(`\n${EXIT}`);
  if (at < 0) return undefined;
  const code = /^\d+/.exec(stderr.slice(at + 1 + EXIT.length))?.[0];
  return code === undefined ? undefined : { code: Number(code), stderr: stderr.slice(0, at) };
}

export interface SshShellOptions {
  target: SshTarget;
  /** Words before ssh, where the guest's network is reached from another namespace. */
  prefix?: readonly string[];
  /** The client; for tests. */
  program?: string;
}

export class SshShell implements GuestShell {
  readonly name: string;
  readonly #options: SshShellOptions;
  readonly #local = new LocalShell();
  /** Directory of the shared connection's socket: private, and short as socket paths must be. */
  #directory: Promise<string> | undefined;

  constructor(options: SshShellOptions) {
    this.#options = options;
    this.name = `${options.target.user}@${options.target.address}`;
  }

  async exec(argv: readonly [string, ...string[]], options: ExecGuestOptions = {}): Promise<ExecGuestResult> {
    const { input, env, timeoutMs = EXEC_TIMEOUT_MS, check = false } = options;
    const text = argv.join(' ');
    const signal = deadline(`"${text}" in the guest`, timeoutMs, options.signal);
    const { target } = this.#options;
    const remote = remoteCommand(argv, { user: target.user, ...(env === undefined ? {} : { env }) });
    const words = [...(await this.#words()), target.address, remote] as const;
    const ran = await this.#local.exec(this.#command(words), {
      ...(input === undefined ? {} : { input }),
      signal,
      timeoutMs: timeoutMs + 1000,
    });
    const ended = readExit(ran.stderr);
    if (ended === undefined) throw this.#failed(ran);
    if (check && ended.code !== 0) {
      const stderr = ended.stderr.trim() || ran.stdout.trim();
      throw new ShadowferryError('GUEST_COMMAND_FAILED', { command: text, code: ended.code, stderr });
    }
    return { ...ran, ...ended };
  }

  /** Tries until a command is taken. @throws SSH_FAILED with the last reason when `signal` aborts. */
  async waitReady({ signal }: { signal: AbortSignal }): Promise<void> {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      try {
        await this.exec(['true'], { signal, check: true });
        return;
      } catch (error) {
        if (signal.aborted) {
          if (error instanceof ShadowferryError && error.code === 'SSH_FAILED') throw error;
          const why = `it did not let us in in time: ${reasonOf(error)}`;
          throw new ShadowferryError('SSH_FAILED', { target: this.name, why }, { cause: error });
        }
      }
      await pauseFor(pause, signal);
    }
  }

  async close(): Promise<void> {
    if (this.#directory === undefined) return;
    const directory = await this.#directory;
    const words = ['-O', 'exit', ...(await this.#words()), this.#options.target.address];
    await this.#local.exec(this.#command(words), { timeoutMs: 5000 }).catch(() => {});
    await rm(directory, { recursive: true, force: true });
    this.#directory = undefined;
  }

  #command(words: readonly string[]): [string, ...string[]] {
    const [first, ...rest] = [...(this.#options.prefix ?? []), this.#options.program ?? 'ssh', ...words];
    return [first ?? 'ssh', ...rest];
  }

  async #words(): Promise<string[]> {
    this.#directory ??= mkdtemp(join(tmpdir(), 'sf-ssh-'));
    return sshOptions(this.#options.target, join(await this.#directory, 'c'));
  }

  #failed({ code, stderr }: ExecGuestResult): ShadowferryError {
    const why = code === 127 ? 'there is no ssh on this machine' : stderr.trim() || `ssh ended with ${code}`;
    return new ShadowferryError('SSH_FAILED', { target: this.name, why });
  }
}
