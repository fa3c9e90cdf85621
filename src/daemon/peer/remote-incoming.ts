/** A VM on its way to another host, as the coordinator sees it: told by that host's daemon, which goes on by itself. */

import { raceSignal } from '../../base/deadline.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { Attached, Incoming, NicSettled, StagedNic } from '../../migration/destination/destination.ts';
import { errorOf } from '../../migration/incoming/error-text.ts';
import type { AttachedText, ErrorText, SettledText, Told } from '../../migration/incoming/wire-model.ts';
import { PHASES } from '../../migration/machine.ts';
import type { IncomingState } from '../../migration/protocol/incoming.ts';
import type { HandOver } from '../../migration/protocol/record.ts';
import { decide, type RunLog, warn } from '../../migration/run.ts';
import type { Ownership } from '../../ownership/store.ts';
import type { DiskExport } from '../../storage/model.ts';
import { NEWS_MS, PEER_API } from '../api/contract-peer.ts';
import type { PeerLink } from './link.ts';
import { attachedOf, settledOf, stagedText } from './told.ts';

/** Between two questions to a daemon that does not answer, ms. */
const AGAIN_MS = 200;
/** The clocks are compared again so often, ms. */
const CLOCK_MS = 10_000;

/** States in which the VM does not come, or not any more. */
const BACK: readonly IncomingState['kind'][] = ['returning', 'discarding', 'discarded', 'lost'];
const RUNS: readonly IncomingState['kind'][] = ['active', 'attached', 'settled'];

export class RemoteIncoming implements Incoming {
  readonly gone: Promise<string>;
  readonly #handOver: HandOver;
  readonly #link: PeerLink;
  readonly #log: RunLog;
  readonly #closed = new AbortController();
  readonly #gone = Promise.withResolvers<string>();
  #state: IncomingState;
  #rev = 0;
  #uri = '';
  #exports: readonly DiskExport[] = [];
  #runningMs: number | undefined;
  #attached: AttachedText | undefined;
  #settled: SettledText | undefined;
  #error: ErrorText | undefined;
  readonly #carriers = new Set<string>();
  #onCarrier: (nic: string) => void = () => {};
  #news = Promise.withResolvers<void>();
  #silent = false;

  constructor(handOver: HandOver, state: IncomingState, link: PeerLink, log: RunLog) {
    this.#handOver = handOver;
    this.#state = state;
    this.#link = link;
    this.#log = log;
    this.gone = this.#gone.promise;
    void this.#follow();
    void this.#compareClocks();
  }

  get uri(): string {
    return this.#uri;
  }

  get exports(): readonly DiskExport[] {
    return this.#exports;
  }

  /** Waits until its QEMU listens. @throws why it does not */
  async reserved(signal: AbortSignal): Promise<void> {
    await this.#until(({ kind }) => kind !== 'reserving' && this.#uri !== '', signal);
  }

  async stage(nics: readonly StagedNic[]): Promise<void> {
    const body = { nics: nics.map(stagedText) };
    await this.#link.surely(
      PEER_API.peerStage,
      { params: { id: this.#handOver.id }, query: {}, body },
      AbortSignal.any([this.#closed.signal, AbortSignal.timeout(60_000)]),
    );
  }

  async loaded(signal: AbortSignal): Promise<void> {
    await this.#until(({ kind }) => kind === 'ready' || kind === 'starting' || RUNS.includes(kind), signal);
  }

  /** Says that the record has changed. The destination looks by itself too, so nothing is lost with the word. */
  async allow(_owned: Ownership, signal: AbortSignal): Promise<void> {
    const message = { kind: 'look', handOver: { ...this.#handOver } } as const;
    try {
      await this.#link.surely(PEER_API.peerTell, { params: {}, query: {}, body: { message } }, signal);
    } catch (error) {
      warn(this.#log, `the destination was not told that it owns the VM: ${reasonOf(error)}`);
    }
  }

  async running(signal: AbortSignal): Promise<number> {
    await this.#until(({ kind }) => RUNS.includes(kind) && this.#runningMs !== undefined, signal);
    return this.#runningMs ?? 0;
  }

  async attach(onCarrier: (nic: string) => void): Promise<Attached> {
    this.#onCarrier = onCarrier;
    for (const nic of this.#carriers) onCarrier(nic);
    await this.#until(() => this.#attached !== undefined, this.#closed.signal);
    return attachedOf(this.#attached ?? { replayed: {}, failed: {} });
  }

  async settle(): Promise<ReadonlyMap<string, NicSettled>> {
    await this.#until(({ kind }) => kind === 'settled' && this.#settled !== undefined, this.#closed.signal);
    return settledOf(this.#settled ?? { nics: {} });
  }

  close(): void {
    this.#closed.abort();
  }

  /** @throws why the VM does not come when it does not, and what `signal` was aborted with */
  async #until(holds: (state: IncomingState) => boolean, signal: AbortSignal): Promise<void> {
    for (;;) {
      const news = this.#news.promise;
      if (holds(this.#state)) return;
      if (BACK.includes(this.#state.kind)) throw this.#why();
      await raceSignal(news, signal);
    }
  }

  #why(): ShadowferryError {
    if (this.#error !== undefined) return errorOf(this.#error);
    const host = this.#link.name;
    const why =
      this.#state.kind === 'lost'
        ? `QEMU on host "${host}" ended after the VM ran there`
        : `host "${host}" does not take the VM any more ("${this.#state.kind}")`;
    return new ShadowferryError('MIGRATION_FAILED', { why });
  }

  /** Hears what happens, as long as somebody wants to know. */
  async #follow(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted) {
      try {
        const { state, told } = await this.#link.call(
          PEER_API.peerReport,
          { params: { id: this.#handOver.id }, query: { after: this.#rev, waitMs: NEWS_MS } },
          { signal, answerMs: NEWS_MS + 10_000 },
        );
        if (this.#silent) warn(this.#log, `host "${this.#link.name}" answers again`);
        this.#silent = false;
        for (const each of told) this.#take(each);
        this.#state = state;
        if (BACK.includes(state.kind)) this.#gone.resolve(this.#why().message);
        this.#wake();
        if (state.kind === 'settled' || state.kind === 'discarded' || state.kind === 'lost') return;
      } catch (error) {
        if (signal.aborted) return;
        if (!this.#silent) warn(this.#log, reasonOf(error));
        this.#silent = true;
        await pauseFor(AGAIN_MS, signal);
      }
    }
  }

  async #compareClocks(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted) {
      await pauseFor(CLOCK_MS, signal, { ref: false });
      if (!signal.aborted) await this.#link.warm(signal).catch(() => {}); // whoever follows says that it is silent
    }
  }

  #wake(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers<void>();
  }

  #take({ rev, atMs: theirsMs, what }: Told): void {
    if (rev <= this.#rev) return;
    this.#rev = rev;
    const log = this.#log;
    const atMs = this.#link.ours(theirsMs);
    switch (what.kind) {
      case 'state':
        this.#state = what.state;
        return;
      case 'listening':
        this.#uri = what.uri;
        this.#exports = what.exports;
        return;
      case 'running':
        this.#runningMs ??= atMs;
        log.timeline.mark('vCPUs run', atMs);
        return;
      case 'mark':
        log.timeline.mark(what.name, atMs, what.nic);
        return;
      case 'warning':
        warn(log, what.text);
        return;
      case 'decision':
        decide(log, { action: what.action, reason: what.reason });
        return;
      case 'step': {
        const phase = PHASES.find((each) => each === what.phase);
        if (phase === undefined) return;
        const { name, durationMs, critical } = what;
        const startMs = log.timeline.relative(atMs - durationMs);
        log.timeline.steps.push({ phase, name, startMs, durationMs, critical });
        return;
      }
      case 'carrier':
        this.#carriers.add(what.nic);
        this.#onCarrier(what.nic);
        return;
      case 'attached':
        this.#attached = what.attached;
        return;
      case 'settled':
        this.#settled = what.settled;
        return;
      case 'error':
        this.#error = what.error;
        return;
      default:
        what satisfies never;
    }
  }
}
