/**
 * Stands between the daemons and the QEMUs that they start, without their knowing: the program that a daemon takes for
 * QEMU is a script of ours, which puts the monitor's and the agent's sockets elsewhere and lets us listen in their place.
 * A monitor of our own shows when each QEMU ran.
 */
import {
  chmodSync,
  type FSWatcher,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { deadline } from '../../base/deadline.ts';
import { shellQuote } from '../../base/shell-quote.ts';
import { vmPaths } from '../../hypervisor/qemu/spec.ts';
import { QmpClient } from '../../hypervisor/qmp/client.ts';
import { qomList, queryStatus } from '../../hypervisor/qmp/commands.ts';
import { dial } from '../../hypervisor/qmp/dial.ts';
import { type ProxyHooks, QmpProxy } from '../../hypervisor/qmp/proxy.ts';
import type { Copy, HostName, RunningSpan } from './observation.ts';

const CONNECT_MS = 20_000;
const LOOK_MS = 3000;
const REAL = '.real';

/** The script in place of QEMU. It becomes QEMU, so that its process is QEMU's. */
export function wrapperScript(qemu: string, started: string): string {
  return `#!/bin/sh
# questions about QEMU go through as they are
case " $* " in
  *' -S '*) ;;
  *) exec ${shellQuote(qemu)} "$@" ;;
esac
directory=
n=$#
while [ "$n" -gt 0 ]; do
  word=$1
  shift
  case $word in
    socket,id=mon0,path=*/qmp.sock,* | socket,id=agent0,path=*/agent.sock,*)
      head=\${word%.sock,*}
      directory=\${head#*path=}
      directory=\${directory%/*}
      word="$head.sock${REAL},\${word##*.sock,}"
      ;;
  esac
  set -- "$@" "$word"
  n=$((n - 1))
done
[ -z "$directory" ] || {
  printf '%s' "$directory" >${shellQuote(`${started}/part`)}.$$
  mv ${shellQuote(`${started}/part`)}.$$ ${shellQuote(started)}/$$
  set -- "$@" -chardev "socket,id=outside0,path=$directory/outside.sock,server=on,wait=off" \\
    -mon chardev=outside0,mode=control
}
exec ${shellQuote(qemu)} "$@"
`;
}

/** A QEMU that runs behind the gate. */
export interface Gated {
  host: HostName;
  vm: string;
  pid: number;
  directory: string;
  /** When the gate saw it start. */
  sinceMs: number;
  monitor: QmpClient | undefined;
  ended: boolean;
}

interface Guarded extends Gated {
  close: () => void;
}

/** A byte pipe between two sockets that can be held: what is written waits, as with a process that is stopped. */
class Pipe {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #held: () => boolean;

  private constructor(server: Server, upstream: string, held: () => boolean) {
    this.#server = server;
    this.#held = held;
    server.on('connection', (client) => void this.#join(client, upstream));
  }

  static async open(listen: string, upstream: string, held: () => boolean): Promise<Pipe> {
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listen, resolve);
    });
    return new Pipe(server, upstream, held);
  }

  async #join(client: Socket, upstream: string): Promise<void> {
    client.on('error', () => client.destroy());
    try {
      const other = await dial(upstream, AbortSignal.timeout(CONNECT_MS));
      other.on('error', () => other.destroy());
      for (const [from, to] of [
        [client, other],
        [other, client],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (bytes) => to.write(bytes));
        from.once('close', () => {
          this.#sockets.delete(from);
          to.destroySoon();
        });
      }
      if (!this.#held()) client.resume();
      else for (const each of [client, other]) each.pause();
    } catch {
      client.destroy();
    }
  }

  /** Lets what waited go on, or holds what comes. */
  settle(): void {
    for (const socket of this.#sockets) {
      if (this.#held()) socket.pause();
      else socket.resume();
    }
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

export class Gate {
  /** What the monitors of a host do to what passes. */
  readonly hooks: Record<HostName, ProxyHooks> = { a: {}, b: {} };
  readonly spans: RunningSpan[] = [];
  readonly #started: string;
  readonly #watcher: FSWatcher;
  readonly #hostOf: (directory: string) => HostName | undefined;
  readonly #qemus: Guarded[] = [];
  readonly #pipes = new Set<Pipe>();
  readonly #waiting = new Set<() => void>();
  #silent = false;

  /**
   * @param started directory in which the wrappers say what they start
   * @param hostOf whose QEMU it is, by its directory
   */
  constructor(started: string, hostOf: (directory: string) => HostName | undefined) {
    this.#started = started;
    this.#hostOf = hostOf;
    mkdirSync(started, { recursive: true, mode: 0o700 });
    this.#watcher = watch(started, () => this.#look());
  }

  /** Writes the program that daemons take for QEMU. @returns its path */
  static wrapper(directory: string, started: string, qemu = 'qemu-system-x86_64'): string {
    const path = join(directory, 'qemu-gate');
    writeFileSync(path, wrapperScript(qemu, started));
    chmodSync(path, 0o755);
    return path;
  }

  /** Those that have not ended, the newest last. */
  qemus(host?: HostName): readonly Gated[] {
    return this.#qemus.filter((each) => !each.ended && (host === undefined || each.host === host));
  }

  #look(): void {
    for (const name of readdirSync(this.#started).filter((each) => /^\d+$/.test(each))) {
      const directory = readFileSync(join(this.#started, name), 'utf8');
      rmSync(join(this.#started, name));
      const host = this.#hostOf(directory);
      if (host !== undefined) void this.#guard(host, directory, Number(name));
    }
  }

  async #guard(host: HostName, directory: string, pid: number): Promise<void> {
    const paths = vmPaths(directory);
    const vm = directory.slice(directory.lastIndexOf('/') + 1);
    const guarded: Guarded = {
      ...{ host, vm, pid, directory, sinceMs: Date.now() },
      ...{ monitor: undefined, ended: false, close: () => {} },
    };
    this.#qemus.push(guarded);
    const agent = await Pipe.open(paths.agent, `${paths.agent}${REAL}`, () => this.#silent);
    this.#pipes.add(agent);
    const hooks: ProxyHooks = {
      onCommand: (name, message) => this.hooks[host].onCommand?.(name, message) ?? 'pass',
      onReply: (name, message) => this.hooks[host].onReply?.(name, message) ?? 'pass',
      onEvent: (name, message) => this.hooks[host].onEvent?.(name, message) ?? 'pass',
    };
    const proxy = await QmpProxy.start({ listen: paths.monitor, upstream: `${paths.monitor}${REAL}`, hooks });
    guarded.close = () => {
      this.#pipes.delete(agent);
      agent.close();
      void proxy.close();
    };
    try {
      const monitor = await QmpClient.connect({
        path: join(directory, 'outside.sock'),
        name: `${vm}@${host} from outside`,
        signal: deadline('the monitor outside', CONNECT_MS),
      });
      guarded.monitor = monitor;
      monitor.on('RESUME', ({ qemuTimeMs, arrivedMs }) => this.#ran(guarded, qemuTimeMs ?? arrivedMs));
      monitor.on('STOP', ({ qemuTimeMs, arrivedMs }) => this.#stopped(pid, qemuTimeMs ?? arrivedMs));
      if ((await queryStatus(monitor)).running) this.#ran(guarded, Date.now());
      this.#tell();
      await monitor.closed;
    } catch {
      // it ended before it could be asked; its spans say what it did
    }
    this.ended(pid, Date.now());
  }

  #ran({ host, pid }: Gated, atMs: number): void {
    if (this.spans.some((span) => span.pid === pid && span.toMs === null)) return;
    this.spans.push({ host, pid, fromMs: atMs, toMs: null });
    this.#tell();
  }

  #stopped(pid: number, atMs: number): void {
    for (const span of this.spans) if (span.pid === pid && span.toMs === null) span.toMs = atMs;
    this.#tell();
  }

  /** Notes the end of a QEMU; who kills one says when. */
  ended(pid: number, atMs: number): void {
    const found = this.#qemus.find((each) => each.pid === pid && !each.ended);
    this.#stopped(pid, atMs);
    if (found === undefined) return;
    found.ended = true;
    found.close();
    void found.monitor?.close();
    this.#tell();
  }

  /** Waits until `there` gives something, looked at whenever a QEMU starts, runs, stops or ends. */
  async until<T>(there: () => T | undefined, signal: AbortSignal): Promise<T> {
    for (;;) {
      const found = there();
      if (found !== undefined) return found;
      signal.throwIfAborted();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
      await promise;
      this.#waiting.delete(resolve);
    }
  }

  #tell(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Forgets spans that have ended, for the next case. */
  forgetSpans(): void {
    const open = this.spans.filter(({ toMs }) => toMs === null);
    this.spans.splice(0, this.spans.length, ...open);
  }

  /** All agents are silent, as if they were stopped, or go on with what they were told meanwhile. */
  silence(silent: boolean): void {
    this.#silent = silent;
    for (const pipe of this.#pipes) pipe.settle();
  }

  /** The copies of a VM, asked by a monitor that nobody else uses. */
  async copies(vm: string): Promise<Copy[]> {
    return Promise.all(
      this.qemus()
        .filter((each) => each.vm === vm)
        .map(async ({ host, pid, monitor }): Promise<Copy> => {
          try {
            if (monitor === undefined) throw new Error('it has not answered yet');
            const signal = deadline('a look at QEMU', LOOK_MS);
            const answers = Promise.all([queryStatus(monitor), qomList(monitor, '/machine/peripheral')]);
            const late = new Promise<never>((_, reject) =>
              signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
            );
            const [{ status }, parts] = await Promise.race([answers, late]);
            const device = parts.some(({ name }) => name.startsWith('dev-'));
            return { host, pid, status, device };
          } catch {
            return { host, pid, status: 'unknown', device: false };
          }
        }),
    );
  }

  close(): void {
    this.#watcher.close();
    for (const each of this.#qemus) {
      each.close();
      void each.monitor?.close();
    }
  }
}
