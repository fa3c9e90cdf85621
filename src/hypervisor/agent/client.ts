import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import {
  EXEC_TIMEOUT_MS,
  type ExecGuestOptions,
  type ExecGuestResult,
  type GuestShell,
} from '../../guest/shell.ts';
import { AgentChannel, type AgentConnectOptions, type RequestOptions } from './channel.ts';
import { readGuestFile, type WriteFileOptions, writeGuestFile } from './files.ts';

/**
 * Between two looks at a command, ms: a share of the time that it has run already. Its end is seen late by half of that
 * share, and a look costs an emulated guest 2 ms.
 */
const FIRST_POLL_MS = 8;
const LONGEST_POLL_MS = 250;
const POLL_SHARE = 0.12;

/** One exchange this old counts as silence of the agent, not as slowness of the command. */
const SILENCE_MS = 1000;

const Info = z.object({
  version: z.string(),
  supported_commands: z.array(z.object({ name: z.string(), enabled: z.boolean() })),
});

const Started = z.object({ pid: z.number() });

const Status = z.object({
  exited: z.boolean(),
  exitcode: z.number().optional(),
  signal: z.number().optional(),
  'out-data': z.string().default(''),
  'err-data': z.string().default(''),
  'out-truncated': z.boolean().default(false),
  'err-truncated': z.boolean().default(false),
});

/**
 * A client of the QEMU guest agent. Every method throws AGENT_SILENT when no answer comes in time, AGENT_REFUSED
 * when the agent says no (a disabled command, for one), AGENT_CLOSED when the socket ends.
 * A round trip costs tens of milliseconds; none belongs on the critical path, and none works while the VM is
 * paused or on its way.
 */
export class AgentClient implements GuestShell, AsyncDisposable {
  readonly #channel: AgentChannel;

  private constructor(channel: AgentChannel) {
    this.#channel = channel;
  }

  /** Opens the socket, which QEMU serves whether or not an agent runs: `waitReady` or `ping` tells. */
  static async connect(options: AgentConnectOptions): Promise<AgentClient> {
    return new AgentClient(await AgentChannel.connect(options));
  }

  get name(): string {
    return this.#channel.name;
  }

  async ping(options?: RequestOptions): Promise<void> {
    await this.#channel.request('guest-ping', undefined, z.unknown(), options);
  }

  /** Pings until the agent answers. @throws AGENT_SILENT when `signal` aborts by a deadline, else its reason. */
  async waitReady({ signal, tryMs = 1000 }: { signal: AbortSignal; tryMs?: number }): Promise<void> {
    const start = performance.now();
    const silent = (cause: unknown) =>
      new ShadowferryError(
        'AGENT_SILENT',
        { command: 'guest-ping', ms: Math.round(performance.now() - start) },
        { cause },
      );
    for (;;) {
      try {
        return await this.ping({ signal, timeoutMs: tryMs });
      } catch (error) {
        if (!(error instanceof ShadowferryError && error.code === 'AGENT_SILENT')) throw error;
        if (signal.aborted) throw silent(error);
      }
    }
  }

  /** Version of the agent and the commands it has enabled. */
  async info(options?: RequestOptions): Promise<{ version: string; commands: string[] }> {
    const info = await this.#channel.request('guest-info', undefined, Info, options);
    const commands = info.supported_commands.filter(({ enabled }) => enabled).map(({ name }) => name);
    return { version: info.version, commands };
  }

  /**
   * Runs a program in the guest (no shell) and collects its output. A non-zero exit is a result, unless `check`.
   * After a timeout or abort the program may still run in the guest: the agent has no way to stop it.
   * @throws DEADLINE when the command runs too long while the agent answers; GUEST_COMMAND_FAILED with `check`.
   */
  async exec(argv: readonly [string, ...string[]], options: ExecGuestOptions = {}): Promise<ExecGuestResult> {
    const { timeoutMs = EXEC_TIMEOUT_MS } = options;
    const text = argv.join(' ');
    const result = await this.#run(
      argv,
      options,
      deadline(`"${text}" in the guest`, timeoutMs, options.signal),
    );
    if (options.check && result.code !== 0) {
      const stderr = result.stderr.trim() || result.stdout.trim();
      throw new ShadowferryError('GUEST_COMMAND_FAILED', { command: text, code: result.code, stderr });
    }
    return result;
  }

  /**
   * Tells the guest to power off. An agent that does so says nothing, so its silence, or the end of its QEMU, is its
   * consent. @throws AGENT_SILENT when none answers before that, AGENT_REFUSED
   */
  async shutDown({ signal, tryMs = 1000 }: { signal?: AbortSignal; tryMs?: number } = {}): Promise<void> {
    const options = { timeoutMs: tryMs, ...(signal === undefined ? {} : { signal }) };
    await this.ping(options);
    try {
      await this.#channel.request('guest-shutdown', { mode: 'powerdown' }, z.unknown(), options);
    } catch (error) {
      const silent = error instanceof ShadowferryError && /^AGENT_(SILENT|CLOSED)$/.test(error.code);
      if (!silent || signal?.aborted) throw error;
    }
  }

  /** Writes a whole file, replacing it. See `WriteFileOptions.mode`: the default is private to root. */
  writeFile(path: string, data: string | Uint8Array, options?: WriteFileOptions): Promise<void> {
    return writeGuestFile(this.#channel, this, path, data, options);
  }

  /** Reads a whole file. @throws AGENT_REFUSED when it cannot be read or is larger than `maxBytes` (16 MiB). */
  readFile(path: string, options?: RequestOptions & { maxBytes?: number }): Promise<Buffer> {
    return readGuestFile(this.#channel, path, options);
  }

  /** Rejects what is waiting and resolves when the socket is closed. */
  close(): Promise<void> {
    return this.#channel.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(
    [path, ...args]: readonly [string, ...string[]],
    { input, env }: ExecGuestOptions,
    limit: AbortSignal,
  ): Promise<ExecGuestResult> {
    const request = {
      path,
      arg: args,
      'capture-output': true,
      ...(input === undefined ? {} : { 'input-data': Buffer.from(input).toString('base64') }),
      ...(env === undefined ? {} : { env: Object.entries(env).map(([name, value]) => `${name}=${value}`) }),
    };
    let pid: number;
    try {
      ({ pid } = await this.#channel.request('guest-exec', request, Started, { signal: limit }));
    } catch (error) {
      const code = notStarted(error);
      if (code === undefined) throw error;
      return { code, stdout: '', stderr: `${reasonText(error)}\n`, truncated: false };
    }
    // The protocol has no event for the end of a command: asking again is the only way.
    const started = performance.now();
    for (;;) {
      const share = (performance.now() - started) * POLL_SHARE;
      const pause = Math.min(Math.max(share, FIRST_POLL_MS), LONGEST_POLL_MS);
      await delay(pause, undefined, { signal: limit }).catch(() => limit.throwIfAborted());
      const status = await this.#status(pid, limit);
      if (status.exited) return resultOf(status);
    }
  }

  async #status(pid: number, limit: AbortSignal): Promise<z.infer<typeof Status>> {
    try {
      return await this.#channel.request('guest-exec-status', { pid }, Status, { signal: limit });
    } catch (error) {
      // The agent answered until now: a limit reached during this exchange is the command's.
      const silentMs =
        error instanceof ShadowferryError && error.code === 'AGENT_SILENT' ? Number(error.params.ms) : 0;
      if (limit.aborted && silentMs < SILENCE_MS) throw limit.reason;
      throw error;
    }
  }
}

function resultOf(status: z.infer<typeof Status>): ExecGuestResult {
  return {
    code: status.signal === undefined ? (status.exitcode ?? 0) : 128 + status.signal,
    stdout: Buffer.from(status['out-data'], 'base64').toString('utf8'),
    stderr: Buffer.from(status['err-data'], 'base64').toString('utf8'),
    truncated: status['out-truncated'] || status['err-truncated'],
  };
}

/** The shell's exit code for a program the agent could not start; `undefined` for any other error. */
function notStarted(error: unknown): 126 | 127 | undefined {
  if (!(error instanceof ShadowferryError) || error.code !== 'AGENT_REFUSED') return undefined;
  const text = reasonText(error);
  if (!/failed to execute child process/i.test(text)) return undefined;
  return /no such file/i.test(text) ? 127 : 126;
}

function reasonText(error: unknown): string {
  return error instanceof ShadowferryError ? String(error.params.description) : String(error);
}
