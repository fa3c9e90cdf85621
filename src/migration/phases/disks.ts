/**
 * The disks that move are copied before the VM's devices leave, while it runs: however large they are, no traffic waits
 * for them. From then on what the guest writes follows, and the copies end when its vCPUs have stopped.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { nowMs } from '../../base/clock.ts';
import { formatMs } from '../../base/units.ts';
import { ShadowferryError } from '../../errors.ts';
import {
  finishMirrors,
  type MirrorFigures,
  mirrorFailure,
  mirrorFigures,
  startMirrors,
} from '../../storage/mirror.ts';
import type { DiskMove } from '../../storage/model.ts';
import type { Incoming } from '../destination/destination.ts';
import type { ProgressEvent } from '../events.ts';
import { type Run, step, waitBefore } from '../run.ts';
import { destinationLost } from './lost.ts';

const SAMPLE_MS = 100;
/** To send what was written last, with the vCPUs stopped, ms: a guest that writes faster than the link is not kept longer. */
const FINISH_MS = 15_000;
/** What QEMU copies at once, bytes: a copy that is slowed down stands still in between. */
const CHUNK = 4 * 1024 ** 2;

/** A progress event of disks; `previous` gives the rate. */
function progressOf(
  { transferred, remaining, total }: MirrorFigures,
  atMs: number,
  previous: ProgressEvent | undefined,
): ProgressEvent {
  const elapsed = previous === undefined ? 0 : atMs - previous.atMs;
  const sent = transferred - (previous?.transferred ?? 0);
  const rateBps = elapsed > 0 ? Math.max(0, (sent * 1000) / elapsed) : 0;
  const etaMs = remaining === 0 ? 0 : rateBps > 0 ? (remaining * 1000) / rateBps : null;
  return {
    ...{ type: 'progress', atMs, phase: 'stage', of: 'disks', transferred, remaining, total },
    ...{ rateBps, dirtyRateBps: 0, round: 0, etaMs },
    reason: 'disks are copied before the devices leave',
    residual: { bytes: remaining, etaMs },
  };
}

export class DiskCopies {
  readonly #run: Run;
  readonly #disks: readonly string[];
  readonly #since: ReadonlyMap<string, string>;
  readonly #incoming: Incoming;
  readonly #over = new AbortController();
  /** Rejects when a copy ends with an error; never resolves. */
  readonly failure: Promise<never>;

  constructor(run: Run, moves: readonly DiskMove[], incoming: Incoming) {
    this.#run = run;
    this.#disks = moves.map(({ to }) => to.id);
    this.#since = new Map(
      moves.flatMap(({ to: { id, since } }) => (since === undefined ? [] : [[id, since]])),
    );
    this.#incoming = incoming;
    this.failure =
      moves.length === 0
        ? new Promise<never>(() => {})
        : mirrorFailure(run.source.qemu.monitor, this.#disks, this.#over.signal);
    this.failure.catch(() => {}); // told to whoever waits for something else
  }

  /** Copies the disks. Returns when all is there, and what the guest writes follows. @throws DISK_COPY_FAILED */
  async start(): Promise<void> {
    const run = this.#run;
    if (this.#disks.length === 0) return;
    const undo = this.#disks.map((disk) => ({ kind: 'stop-mirror', disk }) as const);
    await step(run, 'stage', 'copy the disks', { undo }, async () => {
      const signal = waitBefore(run, 'the copy of the disks', run.request.limits.diskMs);
      const { host } = run.source;
      const options = { speed: run.request.diskBandwidth, tls: host.diskTls, since: this.#since };
      const lost = destinationLost(this.#incoming);
      await startMirrors(run.source.qemu.monitor, this.#incoming.exports, options, signal);
      await Promise.race([this.#untilReady(signal), this.failure, lost]);
    });
  }

  async #untilReady(signal: AbortSignal): Promise<void> {
    const { limits, diskBandwidth } = this.#run.request;
    const slowMs = diskBandwidth > 0 ? (2 * CHUNK * 1000) / diskBandwidth : 0;
    const stallMs = limits.stallMs + slowMs;
    let previous: ProgressEvent | undefined;
    let progressedAt = nowMs();
    while (!this.#over.signal.aborted) {
      const figures = await mirrorFigures(this.#run.source.qemu.monitor, this.#disks, signal);
      if (figures.transferred !== previous?.transferred) progressedAt = nowMs();
      previous = progressOf(figures, this.#run.timeline.relative(), previous);
      this.#run.emit(previous);
      if (figures.ready) return;
      const quiet = nowMs() - progressedAt;
      if (quiet > stallMs) {
        const why = `nothing was copied for ${formatMs(quiet)}: the link to the destination is dead, or its disk is`;
        throw new ShadowferryError('DISK_COPY_FAILED', { disk: this.#disks.join(', '), why });
      }
      await delay(SAMPLE_MS, undefined, { signal });
    }
  }

  /** With the vCPUs stopped: the destination has all of the disks now. @throws DISK_COPY_FAILED */
  async finish(): Promise<void> {
    const run = this.#run;
    if (this.#disks.length === 0) return;
    await step(run, 'switchover', 'finish the disks', { critical: true }, () => {
      const signal = waitBefore(run, 'the end of the copy of the disks', FINISH_MS);
      return finishMirrors(run.source.qemu.monitor, this.#disks, signal);
    });
  }

  /** Nothing is watched any more. */
  close(): void {
    this.#over.abort();
  }
}
