/** Which way into a guest is taken, and why: its agent where that may run programs, else SSH. */
import { z } from 'zod';
import { reasonOf, ShadowferryError } from '../errors.ts';
import type { ExecGuestOptions, ExecGuestResult, GuestShell } from './shell.ts';
import { SshTarget } from './ssh.ts';

/** How Shadowferry gets into a VM's guest; part of the VM's spec. */
export const GuestAccessSpec = z
  .object({
    /** `auto`: the agent where it answers and may run programs, else SSH. */
    way: z.enum(['auto', 'agent', 'ssh']).default('auto'),
    ssh: SshTarget.optional(),
  })
  .refine(
    ({ way, ssh }) => way !== 'ssh' || ssh !== undefined,
    'way "ssh" needs "ssh" with address and keys',
  );
export type GuestAccessSpec = z.infer<typeof GuestAccessSpec>;

/** What an agent says of itself. */
export interface AgentShell extends GuestShell {
  info(options?: {
    signal?: AbortSignal;
    timeoutMs?: number;
  }): Promise<{ version: string; commands: string[] }>;
  /** @throws AGENT_SILENT when none answers, AGENT_REFUSED */
  shutDown(options?: { signal?: AbortSignal; tryMs?: number }): Promise<void>;
}

/** What is known of the agent: whether it answers, and what it may not do. */
export type AgentFacts = { answers: false } | { answers: true; version: string; disabled: readonly string[] };

export interface AccessDecision {
  action: 'agent' | 'ssh';
  reason: string;
}

/** What a capture and a replay need of an agent. */
const NEEDED = ['guest-exec', 'guest-exec-status'] as const;

/** An agent under emulation answers within a second; a guest that is booting does not answer at all. */
const ASK_MS = 3000;

/**
 * Chooses the way. Pure.
 * @throws ShadowferryError GUEST_ACCESS when there is none.
 */
export function chooseAccess(vm: string, spec: GuestAccessSpec, agent: AgentFacts): AccessDecision {
  if (spec.way === 'ssh') return { action: 'ssh', reason: 'asked for' };
  const may = agent.answers && agent.disabled.length === 0;
  if (may) {
    return {
      action: 'agent',
      reason: spec.way === 'agent' ? 'asked for' : `the guest's agent (${agent.version}) answers`,
    };
  }
  const why = agent.answers
    ? `${agent.disabled.join(' and ')} ${agent.disabled.length === 1 ? 'is' : 'are'} disabled in the guest's agent (${agent.version})`
    : "the guest's agent does not answer";
  if (spec.way === 'auto' && spec.ssh !== undefined) return { action: 'ssh', reason: why };
  throw new ShadowferryError('GUEST_ACCESS', { vm, why });
}

/** The guest of one VM, by the way that turns out to work. The choice is made when it is first needed, and kept. */
export class GuestAccess implements GuestShell {
  readonly name: string;
  readonly #spec: GuestAccessSpec;
  readonly #agent: AgentShell;
  readonly #ssh: GuestShell | undefined;
  #chosen: AccessDecision | undefined;

  constructor(options: {
    vm: string;
    spec: GuestAccessSpec;
    agent: AgentShell;
    ssh: GuestShell | undefined;
  }) {
    this.name = options.vm;
    this.#spec = options.spec;
    this.#agent = options.agent;
    this.#ssh = options.ssh;
  }

  /** @throws ShadowferryError GUEST_ACCESS when there is no way in; AGENT_SILENT where only the agent could be one. */
  async choose(signal?: AbortSignal): Promise<AccessDecision> {
    this.#chosen ??= chooseAccess(this.name, this.#spec, await this.#askAgent(signal));
    return this.#chosen;
  }

  async exec(argv: readonly [string, ...string[]], options: ExecGuestOptions = {}): Promise<ExecGuestResult> {
    return (await this.#shell(options.signal)).exec(argv, options);
  }

  async waitReady({ signal }: { signal: AbortSignal }): Promise<void> {
    // alone, the agent is waited for as long as it takes; else its silence is an answer
    if (this.#ssh === undefined || this.#spec.way === 'agent') await this.#agent.waitReady({ signal });
    await (await this.#shell(signal)).waitReady({ signal });
  }

  /**
   * Tells the guest to power off, by its agent whatever the way in is: it needs no right to run programs.
   * @returns why it could not be told; undefined when it was
   */
  async shutDown(options: { signal: AbortSignal; tryMs: number }): Promise<string | undefined> {
    try {
      await this.#agent.shutDown(options);
      return undefined;
    } catch (error) {
      return reasonOf(error);
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#agent.close(), this.#ssh?.close()]);
  }

  async #shell(signal: AbortSignal | undefined): Promise<GuestShell> {
    const { action } = await this.choose(signal);
    return action === 'ssh' && this.#ssh !== undefined ? this.#ssh : this.#agent;
  }

  async #askAgent(signal: AbortSignal | undefined): Promise<AgentFacts> {
    if (this.#spec.way === 'ssh') return { answers: false };
    const alone = this.#ssh === undefined || this.#spec.way === 'agent';
    try {
      const { version, commands } = await this.#agent.info({
        ...(signal === undefined ? {} : { signal }),
        ...(alone ? {} : { timeoutMs: ASK_MS }),
      });
      return { answers: true, version, disabled: NEEDED.filter((name) => !commands.includes(name)) };
    } catch (error) {
      const silent =
        error instanceof ShadowferryError && (error.code === 'AGENT_SILENT' || error.code === 'AGENT_CLOSED');
      if (!silent || alone || signal?.aborted) throw error;
      return { answers: false };
    }
  }
}
