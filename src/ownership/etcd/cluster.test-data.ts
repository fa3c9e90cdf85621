/** Real etcd for tests: on loopback, with ports and data of its own, its members' connections through proxies. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { findProgram } from '../../base/find-program.ts';
import { EtcdConfig } from './config.ts';
import { FaultyLine } from './faulty-line.test-data.ts';

/** Why tests with etcd are skipped; false where they are not. */
export const withoutEtcd: string | false =
  findProgram('etcd') === undefined ? 'there is no etcd on this machine' : false;

const START_MS = 30_000;
const TRIES = 3;
const PORT_TAKEN = 'address already in use';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Inodes of a process's sockets. */
function socketsOf(pid: number): Set<string> {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return ''; // closed meanwhile
    }
  });
  return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.slice(1) ?? []));
}

/** Inode of the socket on loopback that is bound to `port` and connected to `to`. */
function inodeOf(port: number, to: number): string | undefined {
  const hex = (each: number) => `0100007F:${each.toString(16).toUpperCase().padStart(4, '0')}`;
  const line = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((text) => text.trim().split(/\s+/))
    .find(([, local, remote]) => local === hex(port) && remote === hex(to));
  return line?.[9];
}

export class Member {
  readonly name: string;
  readonly clientPort: number;
  readonly peerPort: number;
  /** What clients of the tests use. */
  readonly client: FaultyLine;
  /** What the other members use. */
  readonly peer: FaultyLine;
  process: ChildProcess | undefined;
  log = '';

  constructor(
    name: string,
    ports: { client: number; peer: number },
    proxies: { client: FaultyLine; peer: FaultyLine },
  ) {
    this.name = name;
    this.clientPort = ports.client;
    this.peerPort = ports.peer;
    this.client = proxies.client;
    this.peer = proxies.peer;
  }

  get pid(): number {
    return this.process?.pid ?? -1;
  }
}

const Status = z.object({
  header: z.object({ member_id: z.string() }),
  leader: z.string().optional(),
});

export class Cluster {
  readonly members: Member[];
  readonly directory: string;
  readonly #arguments: readonly string[];
  readonly #scheme: 'http' | 'https';
  readonly #cutOff = new Set<Member>();

  /** A test that is ended by the runner comes to no `after`. */
  readonly #atExit = () => {
    for (const member of this.members) member.process?.kill('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  };

  private constructor(members: Member[], directory: string, options: { arguments?: string[] }) {
    process.once('exit', this.#atExit);
    this.members = members;
    this.directory = directory;
    this.#arguments = options.arguments ?? [];
    this.#scheme = this.#arguments.some((each) => each.startsWith('--cert-file')) ? 'https' : 'http';
  }

  /** Starts members and waits until they have a leader. Call `stop` in any case. */
  static async start(count: number, options: { arguments?: string[] } = {}): Promise<Cluster> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await Cluster.#startOnce(count, options);
      } catch (error) {
        // a port that was free when it was looked for may be another test's by now
        if (tries === TRIES || !(error instanceof Error && error.message.includes(PORT_TAKEN))) throw error;
      }
    }
  }

  static async #startOnce(count: number, options: { arguments?: string[] }): Promise<Cluster> {
    const directory = mkdtempSync(join(tmpdir(), 'sf-etcd-'));
    const members: Member[] = [];
    for (let at = 0; at < count; at++) {
      const ports = { client: await freePort(), peer: await freePort() };
      const client = await FaultyLine.to(() => ports.client);
      const peer = await FaultyLine.to(() => ports.peer);
      members.push(new Member(`m${at}`, ports, { client, peer }));
    }
    const cluster = new Cluster(members, directory, options);
    if (count > 1) for (const member of members) cluster.#watchPeersOf(member);
    try {
      for (const member of members) cluster.startMember(member);
      await cluster.healthy();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  startMember(member: Member): void {
    const client = `${this.#scheme}://127.0.0.1:${member.clientPort}`;
    const peers = this.members.map(({ name, peer }) => `${name}=http://127.0.0.1:${peer.port}`);
    const child = spawn(
      findProgram('etcd') ?? 'etcd',
      [
        ...['--name', member.name, '--data-dir', join(this.directory, member.name)],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', `http://127.0.0.1:${member.peerPort}`],
        ...['--initial-advertise-peer-urls', `http://127.0.0.1:${member.peer.port}`],
        ...['--initial-cluster', peers.join(','), '--initial-cluster-token', this.directory],
        ...['--heartbeat-interval', '100', '--election-timeout', '500', '--logger', 'zap'],
        ...['--log-outputs', 'stderr', '--log-level', 'warn', ...this.#arguments],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      member.log = (member.log + text).slice(-20_000);
    });
    member.process = child;
  }

  /** Ends a member at once, as a power cut does, and waits until it is gone. */
  async kill(member: Member): Promise<void> {
    const { process: child } = member;
    member.process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await gone;
  }

  async stop(): Promise<void> {
    process.off('exit', this.#atExit);
    for (const member of this.members) {
      await this.kill(member);
      member.client.close();
      member.peer.close();
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Nothing passes between this member and anybody else; its connections stay, silent. */
  cutOff(member: Member): void {
    this.#cutOff.add(member);
  }

  heal(): void {
    this.#cutOff.clear();
    // what was swallowed is missing in the streams
    for (const { client, peer } of this.members) {
      client.cut();
      peer.cut();
    }
  }

  /** Waits until all running members agree on a leader. */
  async healthy(): Promise<void> {
    const signal = AbortSignal.timeout(START_MS);
    for (const member of this.members) {
      while (member.process !== undefined && (await this.#statusOf(member))?.leader === undefined) {
        if (signal.aborted || member.process.exitCode !== null) {
          throw new Error(`etcd ${member.name} is not ready: ${member.log}`);
        }
        await delay(50);
      }
    }
  }

  /** The leader, and a member that is not. */
  async roles(): Promise<{ leader: Member; follower: Member }> {
    for (const member of this.members) {
      const status = await this.#statusOf(member);
      if (status?.leader !== status?.header.member_id || status === undefined) continue;
      const follower = this.members.find((each) => each !== member && each.process !== undefined);
      if (follower !== undefined) return { leader: member, follower };
    }
    throw new Error('no leader');
  }

  config(more: Partial<EtcdConfig> = {}, members: readonly Member[] = this.members): EtcdConfig {
    const endpoints = members.map(({ client }) => `${this.#scheme}://127.0.0.1:${client.port}`);
    return EtcdConfig.parse({ endpoints, ...more });
  }

  async #statusOf(member: Member): Promise<z.infer<typeof Status> | undefined> {
    // with TLS it would ask us for a certificate; that it listens is enough, as the first call has time
    if (this.#scheme === 'https') {
      return this.#listens(member) ? { header: { member_id: '' }, leader: '' } : undefined;
    }
    try {
      const response = await fetch(`http://127.0.0.1:${member.clientPort}/v3/maintenance/status`, {
        method: 'POST',
        body: '{}',
        signal: AbortSignal.timeout(1_000),
      });
      return Status.parse(await response.json());
    } catch {
      return undefined;
    }
  }

  #listens(member: Member): boolean {
    const hex = member.clientPort.toString(16).toUpperCase().padStart(4, '0');
    return readFileSync('/proc/net/tcp', 'utf8').includes(`0100007F:${hex} 00000000:0000 0A`);
  }

  /** A peer proxy passes nothing from or to a member that is cut off; whose connection it is, /proc says. */
  #watchPeersOf(member: Member): void {
    const callers = new Map<number, Member | undefined>();
    member.client.connected = () => !this.#cutOff.has(member);
    member.peer.connected = (port) => {
      if (this.#cutOff.size === 0) {
        callers.delete(port); // ports are used again
        return true;
      }
      if (!callers.has(port)) {
        const inode = inodeOf(port, member.peer.port);
        const caller = this.members.find(
          ({ process: child, pid }) =>
            child !== undefined && inode !== undefined && socketsOf(pid).has(inode),
        );
        callers.set(port, caller);
      }
      const caller = callers.get(port);
      return !this.#cutOff.has(member) && (caller === undefined || !this.#cutOff.has(caller));
    };
  }
}
