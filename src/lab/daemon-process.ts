/** One host's real daemon in the lab: the program itself, in the namespace of its host. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { deadline } from '../base/deadline.ts';
import { identify, isAlive, type ProcessIdentity, signalProcess, spawnDetached } from '../base/process.ts';
import { DaemonClient } from '../daemon/client/client.ts';
import { ShadowferryError } from '../errors.ts';
import { dial } from '../hypervisor/qmp/dial.ts';

/** On a loaded machine a start takes seconds. */
const START_MS = 60_000;
const STOP_MS = 30_000;

/** The command line's program has this module's ending: .ts in the source tree, .js in the package. */
const CLI = fileURLToPath(
  new URL(`../cli.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
);

/** Words that run `shadowferry` as this process runs. */
export function shadowferry(args: readonly string[]): [string, ...string[]] {
  return [process.execPath, '--disable-warning=ExperimentalWarning', CLI, ...args];
}

export interface DaemonProcessOptions {
  name: string;
  config: string;
  /** Its Unix socket. */
  socket: string;
  log: string;
  /** Enters the namespace of its host. */
  enter: (argv: readonly string[]) => [string, ...string[]];
}

export class DaemonProcess {
  readonly name: string;
  readonly socket: string;
  readonly client: DaemonClient;
  readonly #options: DaemonProcessOptions;
  #identity: ProcessIdentity | undefined;
  #exited: Promise<string> = Promise.resolve('');

  constructor(options: DaemonProcessOptions) {
    this.name = options.name;
    this.socket = options.socket;
    this.#options = options;
    this.client = new DaemonClient({ address: options.socket });
  }

  get alive(): boolean {
    return this.#identity !== undefined && isAlive(this.#identity);
  }

  get pid(): number | undefined {
    return this.alive ? this.#identity?.pid : undefined;
  }

  /** Starts it and waits until it answers; does nothing while it runs. @throws DAEMON_UNREACHABLE with its last words */
  async start(): Promise<void> {
    if (this.alive) return;
    const { enter, config, log, name, socket } = this.#options;
    const started = spawnDetached(enter(shadowferry(['daemon', '--config', config])), log);
    this.#identity = identify(started.pid);
    this.#exited = started.exited;
    const ended = new AbortController();
    void started.exited.then((how) => ended.abort(new Error(how)));
    const limit = deadline(`the daemon of ${name}`, START_MS);
    try {
      (await dial(socket, AbortSignal.any([limit, ended.signal]))).destroy();
    } catch (error) {
      this.kill();
      const why = `it does not answer: ${this.said().slice(-1500)}`;
      throw new ShadowferryError('DAEMON_UNREACHABLE', { target: socket, why }, { cause: error });
    }
  }

  /** SIGKILL, at once. */
  kill(): void {
    if (this.#identity !== undefined) signalProcess(this.#identity, 'SIGKILL');
  }

  /** Resolves when the process is gone. */
  async gone(): Promise<void> {
    await this.#exited;
  }

  /** SIGTERM, and waits for its end. @returns how it ended; by force where it did not */
  async stop(): Promise<string> {
    if (this.#identity === undefined) return 'it did not run';
    signalProcess(this.#identity, 'SIGTERM');
    const force = setTimeout(() => this.kill(), STOP_MS);
    const how = await this.#exited;
    clearTimeout(force);
    return how;
  }

  /** What it has written so far: JSON lines. */
  said(): string {
    try {
      return readFileSync(this.#options.log, 'utf8');
    } catch {
      return '';
    }
  }
}
