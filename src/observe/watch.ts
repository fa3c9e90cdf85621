/**
 * Keeps the last known shadows of a VM current, so that they are there when a device dies without warning. The watcher
 * in the guest says that something changed, and this captures it. Between changes nothing is connected to the VM but
 * the watcher's own port, so that whoever wants the VM has it. Where the VM goes, this follows.
 */

import { deadline } from '../base/deadline.ts';
import { pauseFor } from '../base/pause-for.ts';
import { ShadowferryError, toShadowferryError } from '../errors.ts';
import { vmPaths, WATCH_PORT } from '../hypervisor/qemu/spec.ts';
import type { ShadowStore } from '../shadow/store/store.ts';
import { CaptureBudget } from '../shadow/watch/budget.ts';
import { WatcherLink, type WatcherListener } from '../shadow/watch/link.ts';
import { startWatcher, watcherVersion } from '../shadow/watch/watcher.ts';
import type { VmAccess } from './access.ts';
import { devicePaths, type Look, lookAt, watchedNics } from './look.ts';
import { keepLook } from './present.ts';
import type { VersionSaid, WatchEvent } from './watch-events.ts';

/** Changes come together: an address brings its routes. How long it is waited for more, ms. */
const SETTLE_MS = 300;
/** While more and more comes, what is there is captured after this long, ms. */
const LONGEST_SETTLE_MS = 5_000;
/** How often the watcher is asked for a sign of life, ms. An answer costs the guest some ten context switches. */
const PING_MS = 30_000;
const PONG_MS = 10_000;
/** A watcher that is in the guest greets at once. */
const HELLO_MS = 4_000;
/** One that has to be started comes by the guest agent. */
const START_MS = 30_000;
const CAPTURE_MS = 30_000;
/** How often a VM is tried again that cannot be reached now, ms; it costs the guest nothing. */
const AGAIN_MS = 500;
const LONGEST_AGAIN_MS = 10_000;
const STOP_MS = 3_000;
/** The end of a device makes changes itself, just before it is told, ms. */
const END_MS = 1_000;

export interface WatchOptions {
  access: VmAccess;
  store: ShadowStore;
  emit: (event: WatchEvent) => void;
  /** Ends the watch, in order. */
  signal: AbortSignal;
  /** Pause between looks for what no event tells, ms; by what a look costs when left out. */
  everyMs?: number | undefined;
  /** How often the watcher in the guest is asked for a sign of life, ms. */
  pingMs?: number | undefined;
  /** How long it may take to answer, ms. */
  pongMs?: number | undefined;
  /** Share of the time that captures may take while something changes again and again. */
  busyShare?: number | undefined;
}

/**
 * Watches until `signal` aborts; then the watcher is taken out of the guest.
 * @throws ShadowferryError when there is nothing to watch (any more): UNKNOWN_VM, LAB_MISSING, GUEST_LACKS
 */
export async function watchVm(options: WatchOptions): Promise<void> {
  const { access, emit, signal } = options;
  const watch = new Watch(options);
  let pause = AGAIN_MS;
  while (!signal.aborted) {
    try {
      await watch.session();
    } catch (thrown) {
      if (signal.aborted) break;
      const error = toShadowferryError(thrown);
      // a QEMU that is not there any more is no reason to end; a VM that nobody knows is
      if (error.code === 'UNKNOWN_VM') await access.place();
      else if (isFinal(error)) throw error;
      watch.away(error);
      if (error.code === 'MIGRATION_BUSY') pause = AGAIN_MS;
    }
    if (watch.wentWell) pause = AGAIN_MS;
    await pauseFor(pause, signal);
    pause = Math.min(pause * 2, LONGEST_AGAIN_MS);
  }
  emit({ type: 'ended', vm: access.vm });
}

/** What does not pass by itself. */
function isFinal({ kind, code }: ShadowferryError): boolean {
  return kind === 'input' || kind === 'internal' || kind === 'missing' || code === 'AGENT_REFUSED';
}

class Watch {
  /** Whether the last session came so far as to see the VM. */
  wentWell = false;
  readonly #o: WatchOptions;
  readonly #budget: CaptureBudget;
  /** NICs whose device is known to be gone. */
  readonly #gone = new Set<string>();
  /** NICs by the PCI addresses of their devices in the guest. */
  readonly #nics = new Map<string, string>();
  /** The last version of each NIC that was told. */
  readonly #told = new Map<string, number>();
  /** The last reason that was told, so that it is told once. */
  #away = '';
  #changed = false;
  /** When the first change came of which no capture has begun since. */
  #uncapturedSince: number | undefined;
  /** While a capture is under way: what has gone meanwhile, by NIC. What it brings is from before that. */
  #goneMeanwhile: Map<string, { why: string; late: boolean }> | undefined;
  /** Whether a capture of this session is over: what is told before may be of the device that left in a migration. */
  #looked = false;
  #wake: () => void = () => {};

  constructor(options: WatchOptions) {
    this.#o = options;
    this.#budget = new CaptureBudget(performance.now(), options.busyShare);
  }

  away(error: ShadowferryError): void {
    const { emit, access } = this.#o;
    if (this.#away === error.code) return;
    this.#away = error.code;
    emit({ type: 'away', vm: access.vm, code: error.code, why: error.message });
  }

  /** Watches at one place, until the VM leaves it or the watch ends. */
  async session(): Promise<void> {
    const { access, signal } = this.#o;
    this.wentWell = false;
    this.#looked = false;
    const { host, directory } = await access.place();
    if (access.busy())
      throw new ShadowferryError('MIGRATION_BUSY', { vm: access.vm, id: 'it goes on after it' });
    const there = deadline(`the port of VM "${access.vm}" on ${host}`, HELLO_MS, signal);
    const link = await WatcherLink.connect(vmPaths(directory).watch, this.#listener, there);
    try {
      const { watcher, deaf } = await this.#findWatcher(link);
      this.#changed = false;
      link.arm();
      const nics = await this.#capture();
      this.#looked = true;
      this.#away = '';
      this.wentWell = true;
      const said = { type: 'watching', vm: access.vm, host, watcher, deaf, nics } as const;
      this.#o.emit(said);
      await this.#follow(link, deaf.length);
    } finally {
      if (signal.aborted) await link.stop(deadline('the end of the watcher', STOP_MS)).catch(() => {});
      link.close();
    }
  }

  /** Finds a watcher of ours that lives and listens, or starts one. */
  async #findWatcher(link: WatcherLink): Promise<{ watcher: 'started' | 'found'; deaf: string[] }> {
    const { access, signal } = this.#o;
    const isDeadline = (error: unknown) => {
      if (error instanceof ShadowferryError && error.code === 'DEADLINE') return undefined;
      throw error;
    };
    const greeted = await link
      .hello(deadline('the greeting of a watcher', HELLO_MS, signal))
      .catch(isDeadline);
    if (greeted === watcherVersion()) {
      // who greets may be what is left of one
      const deaf = await this.#ping(link).catch(isDeadline);
      if (deaf !== undefined && !deaf.includes('ip') && !deaf.includes('link'))
        return { watcher: 'found', deaf };
    }
    const starting = deadline('starting the watcher in the guest', START_MS, signal);
    const hello = link.hello(starting);
    hello.catch(() => {}); // when the start fails before
    const how = await access.look(starting, async (vm) => {
      await vm.agent.waitReady({ signal: starting });
      const devices = [...(await devicePaths(vm)).values()];
      return startWatcher(vm.agent, { port: `/dev/virtio-ports/${WATCH_PORT}`, devices }, starting);
    });
    if (how === 'no port')
      throw new ShadowferryError('GUEST_LACKS', {
        what: `the serial port ${WATCH_PORT}`,
        how: 'Shut the VM down and start it again with this version of Shadowferry, which adds the port.',
      });
    if (how === 'no iproute2')
      throw new ShadowferryError('GUEST_LACKS', { what: 'iproute2', how: 'Install iproute2 in the guest.' });
    await hello;
    return { watcher: 'started', deaf: await this.#ping(link) };
  }

  #ping(link: WatcherLink): Promise<string[]> {
    const { pongMs = PONG_MS, signal } = this.#o;
    return link.ping(deadline('a sign of life of the watcher', pongMs, signal));
  }

  /** Captures what changes, until the link is lost. */
  async #follow(link: WatcherLink, deafAtFirst: number): Promise<never> {
    const { signal } = this.#o;
    let pingAt = performance.now() + (this.#o.pingMs ?? PING_MS);
    let lookAgainAt = performance.now() + this.#everyMs();
    for (;;) {
      const due = Math.min(pingAt, lookAgainAt) - performance.now();
      await this.#pause(link, due, true);
      const now = performance.now();
      if (this.#changed || now >= lookAgainAt) {
        if (this.#changed) await this.#settle(link);
        await this.#capture();
        lookAgainAt = performance.now() + this.#everyMs();
      }
      if (now >= pingAt) {
        const deaf = await this.#ping(link);
        if (deaf.length > deafAtFirst) {
          await link.stop(deadline('the end of the watcher', STOP_MS, signal));
          const why = `${deaf.join(' and ')} ended in the guest, and with it what it told`;
          throw new ShadowferryError('WATCHER_LOST', { why });
        }
        pingAt = performance.now() + (this.#o.pingMs ?? PING_MS);
      }
    }
  }

  #everyMs(): number {
    return this.#o.everyMs ?? this.#budget.idleMs();
  }

  /** Waits until no more comes, and until a capture may be afforded. Meanwhile the guest's listeners stand still. */
  async #settle(link: WatcherLink): Promise<void> {
    await this.#pause(link, Math.max(SETTLE_MS, this.#budget.waitMs(performance.now())));
    while (this.#o.access.busy()) await this.#pause(link, AGAIN_MS);
    const limit = performance.now() + LONGEST_SETTLE_MS;
    do {
      this.#changed = false;
      link.arm();
      await this.#pause(link, SETTLE_MS);
    } while (this.#changed && performance.now() < limit);
    // what comes from now on is looked at once more
  }

  /** Waits; with `wakes` only until something changes. @throws WATCHER_LOST when the link is lost, or the signal's reason */
  async #pause(link: WatcherLink, ms: number, wakes = false): Promise<void> {
    if (wakes && this.#changed) return;
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#o.signal]);
    try {
      const lost = await Promise.race([
        pauseFor(Math.max(0, ms), signal),
        link.closed,
        ...(wakes ? [new Promise<undefined>((resolve) => (this.#wake = () => resolve(undefined)))] : []),
      ]);
      this.#o.signal.throwIfAborted();
      if (lost !== undefined) throw new ShadowferryError('WATCHER_LOST', { why: lost });
    } finally {
      over.abort();
      this.#wake = () => {};
    }
  }

  readonly #listener: WatcherListener = {
    changed: () => this.#noteChange(),
    gone: (pci) => {
      const nic = this.#nics.get(pci);
      // one that leaves in a migration is not gone
      if (nic === undefined || this.#o.access.busy()) return;
      if (!this.#looked) {
        this.#noteChange(); // the next capture sees whether it is so
        return;
      }
      const why = `the guest has no interface at ${pci} any more`;
      if (this.#goneMeanwhile === undefined) this.#tellGone(nic, why, this.#isLate());
      else this.#goneMeanwhile.set(nic, { why, late: this.#isLate() });
    },
  };

  #noteChange(): void {
    this.#changed = true;
    this.#uncapturedSince ??= performance.now();
    this.#wake();
  }

  #isLate(): boolean {
    return this.#uncapturedSince !== undefined && performance.now() - this.#uncapturedSince > END_MS;
  }

  #tellGone(nic: string, why: string, late: boolean): void {
    const { access, store, emit } = this.#o;
    if (this.#gone.has(nic)) return; // told already
    this.#gone.add(nic);
    const last = store.last(access.vm, nic);
    const said = last === undefined ? null : { nic, seq: last.seq, label: last.label };
    emit({ type: 'gone', vm: access.vm, nic, why, last: said, late });
  }

  /** Looks at all NICs; tells what is new, and then what has gone meanwhile. @returns the versions that they have now */
  async #capture(): Promise<VersionSaid[]> {
    const since = this.#uncapturedSince;
    this.#uncapturedSince = undefined;
    const gone = new Map<string, { why: string; late: boolean }>();
    this.#goneMeanwhile = gone;
    try {
      const looks = await this.#lookAtAll();
      const late = since !== undefined && performance.now() - since > END_MS;
      return looks.flatMap((look) => this.#take(look, late) ?? []);
    } catch (error) {
      this.#uncapturedSince = since ?? this.#uncapturedSince;
      throw error;
    } finally {
      this.#goneMeanwhile = undefined;
      for (const [nic, { why, late }] of gone) this.#tellGone(nic, why, late);
    }
  }

  async #lookAtAll(): Promise<Look[]> {
    const { access, signal } = this.#o;
    const limit = deadline(`capturing the shadows of VM "${access.vm}"`, CAPTURE_MS, signal);
    let tookMs = 0;
    const looks = await access.look(limit, async (vm) => {
      const start = performance.now();
      try {
        if (watchedNics(vm.qemu.spec).length === 0)
          throw new ShadowferryError('INPUT_FIELD', { field: 'vm', problem: 'has no direct device' });
        return await lookAt(vm, limit);
      } finally {
        tookMs = performance.now() - start;
      }
    });
    this.#budget.spent(tookMs, performance.now());
    return looks;
  }

  /** @param late whether what changed before is lost with a device that does not show itself */
  #take(look: Look, late: boolean): VersionSaid | undefined {
    const { access, store, emit } = this.#o;
    const { vm } = access;
    this.#nics.set(look.pciPath, look.nic);
    const known = keepLook(store, vm, look, 'watch');
    if (known === undefined) {
      this.#tellGone(look.nic, look.error?.message ?? '', late);
      return undefined;
    }
    const { seq, label } = known.version;
    const said: VersionSaid = { nic: look.nic, seq, label };
    if (this.#gone.delete(look.nic)) emit({ type: 'back', vm, ...said });
    // somebody else may have kept versions meanwhile, as a migration does
    const toldBefore = this.#told.get(look.nic) ?? (known.changes.length > 0 ? seq - 1 : seq);
    for (let n = toldBefore; n < seq; n += 1) {
      const version = store.version(vm, look.nic, n + 1);
      if (version === undefined) continue;
      const { atMs } = version;
      emit({
        ...{ type: 'changed', vm, atMs, nic: look.nic, seq: version.seq, label: version.label },
        changes: store.changes(version),
      });
    }
    this.#told.set(look.nic, seq);
    return said;
  }
}
