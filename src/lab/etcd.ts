/** A real etcd for the lab: one member or three, in a namespace of their own, with their data in the lab's directory. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { deadline } from '../base/deadline.ts';
import { exec } from '../base/exec.ts';
import { findProgram } from '../base/find-program.ts';
import { identify, type ProcessIdentity, signalProcess, spawnDetached } from '../base/process.ts';
import { ShadowferryError } from '../errors.ts';
import { inNamespace } from './network/network.ts';
import { storeAddress } from './store-network.ts';

const CLIENT_PORT = 2379;
const PEER_PORT = 2380;
const START_MS = 60_000;

interface Member {
  name: string;
  client: string;
  peer: string;
  log: string;
  process: ProcessIdentity | undefined;
}

/** Numbers of members, and revisions, are 64 bits: texts. */
const Status = z.object({ header: z.object({ member_id: z.string() }), leader: z.string().optional() });
type Status = z.infer<typeof Status>;
const Range = z.object({
  kvs: z.array(z.object({ key: z.string(), value: z.string().default('') })).default([]),
});

/** The program has this module's ending: .ts in the source tree, .js in the package. */
const ASK = fileURLToPath(
  new URL(`./etcd-ask.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
);

export class LabEtcd {
  readonly #netns: string;
  readonly #directory: string;
  readonly #members: Member[];

  private constructor(netns: string, directory: string, count: number) {
    this.#netns = netns;
    this.#directory = directory;
    this.#members = Array.from({ length: count }, (_, n) => ({
      name: `m${n}`,
      client: `http://${storeAddress(n)}:${CLIENT_PORT}`,
      peer: `http://${storeAddress(n)}:${PEER_PORT}`,
      log: join(directory, `m${n}.log`),
      process: undefined,
    }));
  }

  /** Starts the members and waits until they have a leader; they end with their namespace. @throws DEADLINE, TOOL_MISSING */
  static async start(netns: string, directory: string, count: 1 | 3): Promise<LabEtcd> {
    if (findProgram('etcd') === undefined)
      throw new ShadowferryError('TOOL_MISSING', { tool: 'etcd', install: 'apt-get install etcd-server' });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const etcd = new LabEtcd(netns, directory, count);
    for (const member of etcd.#members) etcd.#startMember(member);
    await etcd.healthy();
    return etcd;
  }

  /** What a daemon's configuration names. */
  get endpoints(): string[] {
    return this.#members.map(({ client }) => client);
  }

  #startMember(member: Member): void {
    const cluster = this.#members.map(({ name, peer }) => `${name}=${peer}`).join(',');
    const started = spawnDetached(
      inNamespace(this.#netns, [
        'etcd',
        ...['--name', member.name, '--data-dir', join(this.#directory, member.name)],
        ...['--listen-client-urls', member.client, '--advertise-client-urls', member.client],
        ...['--listen-peer-urls', member.peer, '--initial-advertise-peer-urls', member.peer],
        ...['--initial-cluster', cluster, '--initial-cluster-token', this.#directory],
        ...['--heartbeat-interval', '100', '--election-timeout', '1000', '--logger', 'zap'],
        ...['--log-outputs', 'stderr', '--log-level', 'warn'],
      ]),
      member.log,
    );
    started.release();
    member.process = identify(started.pid);
  }

  get #running(): Member[] {
    return this.#members.filter(({ process }) => process !== undefined);
  }

  /** Asks each member that runs, over no link that can be cut; undefined from one that does not answer as it should. */
  async #ask<T>(path: string, question: object, answer: z.ZodType<T>, signal: AbortSignal) {
    const members = this.#running;
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', ASK];
    const argv = [...node, path, JSON.stringify(question), ...members.map(({ client }) => client)];
    const { stdout } = await exec(inNamespace(this.#netns, argv), { signal });
    const lines = stdout.split('\n');
    return members.map((member, n) => ({
      member,
      said: answer.safeParse(JSON.parse(lines[n] ?? 'null')).data,
    }));
  }

  #statuses(signal: AbortSignal): Promise<{ member: Member; said: Status | undefined }[]> {
    return this.#ask('/v3/maintenance/status', {}, Status, signal);
  }

  /** Waits until all members that run agree that there is a leader. @throws DEADLINE */
  async healthy(): Promise<void> {
    const signal = deadline('the members of etcd', START_MS);
    for (;;) {
      const seen = await this.#statuses(signal);
      if (seen.every(({ said }) => said?.leader !== undefined && said.leader !== '0')) return;
      for (const { process, name, log } of this.#members) {
        if (process === undefined || identify(process.pid) !== undefined) continue;
        const stderr = readFileSync(log, 'utf8').slice(-500);
        throw new ShadowferryError('COMMAND_FAILED', { command: `etcd ${name}`, code: 1, stderr });
      }
      signal.throwIfAborted();
      await delay(50, undefined, { signal });
    }
  }

  /** Keys and values below a prefix, as etcd has them. @throws DEADLINE when no member has an answer */
  async entries(prefix: string): Promise<Map<string, string>> {
    const end = `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`;
    const question = { key: btoa(prefix), range_end: btoa(end) };
    const signal = deadline('a look into etcd', START_MS);
    let found: z.infer<typeof Range> | undefined;
    while (found === undefined) {
      // while a new leader is elected nobody answers
      signal.throwIfAborted();
      const answers = await this.#ask('/v3/kv/range', question, Range, signal);
      found = answers.find(({ said }) => said !== undefined)?.said;
    }
    const text = (base64: string) => Buffer.from(base64, 'base64').toString('utf8');
    return new Map(found.kvs.map(({ key, value }) => [text(key), text(value)]));
  }

  /** Ends the member that leads, at once, as a power cut does. @returns its name, for `restart` */
  async killLeader(): Promise<string> {
    const seen = await this.#statuses(deadline('the leader of etcd', START_MS));
    const member = seen.find(
      ({ said }) => said !== undefined && said.leader === said.header.member_id,
    )?.member;
    if (member?.process === undefined)
      throw new ShadowferryError('INTERNAL', { why: 'no member of etcd says that it leads' });
    signalProcess(member.process, 'SIGKILL');
    member.process = undefined;
    return member.name;
  }

  /** Starts a member that was ended, with the data that it had, and waits until all agree. */
  async restart(name: string): Promise<void> {
    const member = this.#members.find((each) => each.name === name);
    if (member === undefined || member.process !== undefined) return;
    this.#startMember(member);
    await this.healthy();
  }
}
