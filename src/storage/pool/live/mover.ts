/**
 * Moves a volume while a guest writes to it: QEMU mirrors it to the new place, and what is written
 * meanwhile after it.
 *
 * The job is made so that it does not end by itself. When both places are equal, on the disk, and the guest's requests
 * wait (QEMU's job state `pending`), the catalog turns to the new place: the one moment that decides. Then the job
 * ends, and the guest goes on there. Whatever dies at any time, the place that the catalog names has every write that
 * was acknowledged.
 */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../../errors.ts';
import type { QmpClient } from '../../../hypervisor/qmp/client.ts';
import { begun, settled, switched, switchedBack } from '../changes.ts';
import type { Extent, LiveMove, QemuUse, Volume } from '../model.ts';
import type { MoveOptions, Pool } from '../pool.ts';
import type { LiveRecovery } from '../recover.ts';
import type { LiveMover } from '../reorganize.ts';
import { nodesOf } from './block-nodes.ts';
import { dismiss, type JobState, jobState, untilStatus } from './job.ts';
import { connectMonitor, monitorAfterCrash } from './monitor.ts';
import { nodeFacts, removeNodes, removeUnused } from './nodes.ts';

/** How often progress is told, ms. */
const PROGRESS_MS = 250;
/** Bytes under way where a bandwidth is to be kept: QEMU's own 16 MiB would go out at once, whatever the speed. */
const CAPPED_BUFFER = 1024 * 1024;
/** For taking back and clearing up, which the user's signal does not end, ms. */
const CLEANUP_MS = 60_000;

function failed(pool: Pool, volume: Volume, why: string, cause?: unknown): ShadowferryError {
  const params = { volume: volume.name, pool: pool.device.path, why };
  return new ShadowferryError('POOL_MOVE_FAILED', params, { cause });
}

function namesFor(volume: Volume, use: QemuUse): LiveMove {
  const unique = randomBytes(4).toString('hex');
  return { job: `sf-pool-${volume.id}-${unique}`, from: use.node, to: `sf-v${volume.id}-${unique}` };
}

const whyEnded = (state: JobState) =>
  state.state === 'there' ? (state.error ?? `its job is ${state.status}`) : 'its job is gone';

/** Ends a job and takes away the nodes of a new place; the guest stays in the old one. */
async function takeBack(qmp: QmpClient, names: LiveMove): Promise<void> {
  const signal = deadline('taking a move back', CLEANUP_MS);
  const { job } = names;
  const state = await jobState(qmp, job, signal);
  if (state.state === 'there' && state.status !== 'concluded')
    await untilStatus(qmp, job, [], signal, () => qmp.execute('job-cancel', { id: job }, { signal }));
  await dismiss(qmp, job, signal);
  await removeNodes(qmp, names.to, signal);
}

/** Lets a pending job end and takes the old nodes away. @returns whether the guest is in the new place */
async function takeForward(qmp: QmpClient, names: LiveMove): Promise<boolean> {
  const signal = deadline('ending a move', CLEANUP_MS);
  const { job } = names;
  const state = await jobState(qmp, job, signal);
  if (state.state === 'there' && state.status === 'pending')
    await untilStatus(qmp, job, [], signal, () => qmp.execute('job-finalize', { id: job }, { signal }));
  await dismiss(qmp, job, signal);
  if (await removeUnused(qmp, names.from, signal)) return true;
  await removeNodes(qmp, names.to, signal);
  return false;
}

/** Tells how far a job is, and passes pauses on to it, until it is stopped. */
function follow(qmp: QmpClient, job: string, size: number, options: MoveOptions): () => void {
  const ended = new AbortController();
  const { pace, progress } = options;
  const set = (paused: boolean) => {
    const command = paused ? 'job-pause' : 'job-resume';
    void qmp.execute(command, { id: job }).catch(() => {}); // it may have ended just now
  };
  const stop = pace.on(set);
  if (pace.paused) set(true);
  void (async () => {
    while (!ended.signal.aborted && progress !== undefined) {
      const state = await jobState(qmp, job, ended.signal);
      if (state.state === 'there') progress(Math.min(size, state.done));
      await delay(PROGRESS_MS, undefined, { signal: ended.signal });
    }
  })().catch(() => {}); // whoever waits for the job hears of what is wrong
  return () => {
    stop();
    ended.abort();
  };
}

/** From nothing to a job that is `pending`. @throws whatever is wrong, with the job and nodes still to be taken back */
async function mirror(
  pool: Pool,
  qmp: QmpClient,
  volume: Volume,
  to: Extent,
  names: LiveMove,
  options: MoveOptions,
): Promise<void> {
  const { signal, pace } = options;
  const { job } = names;
  const source = await nodeFacts(qmp, names.from, signal);
  if (source?.driver !== 'raw' || source.size !== volume.size)
    throw failed(pool, volume, `its QEMU has no raw node ${names.from} of ${volume.size} bytes`);
  const { path } = pool.device;
  const block = statSync(path).isBlockDevice();
  for (const node of nodesOf(path, to, names.to, { direct: source.direct, block }))
    await qmp.execute('blockdev-add', node, { signal });
  const mirrorJob = {
    'job-id': job,
    device: names.from,
    target: names.to,
    sync: 'full',
    // with "write-blocking" QEMU 7.2 uses freed memory when the job is cancelled, or fails, while the guest writes
    'copy-mode': 'background',
    'auto-finalize': false,
    'auto-dismiss': false,
    ...(pace.bytesPerSecond === undefined
      ? {}
      : { speed: Math.max(1, Math.round(pace.bytesPerSecond)), 'buf-size': CAPPED_BUFFER }),
  };
  const begin = () => qmp.execute('blockdev-mirror', mirrorJob, { signal });
  let state = await untilStatus(qmp, job, ['created', 'running', 'ready'], signal, begin);
  const stop = follow(qmp, job, volume.size, options);
  try {
    state = await untilStatus(qmp, job, ['ready'], signal);
    if (state.state !== 'there' || state.status !== 'ready') throw failed(pool, volume, whyEnded(state));
    const complete = () => qmp.execute('job-complete', { id: job }, { signal });
    state = await untilStatus(qmp, job, ['pending'], signal, complete);
    if (state.state !== 'there' || state.status !== 'pending') throw failed(pool, volume, whyEnded(state));
  } finally {
    stop();
  }
}

/** Moves volumes that QEMUs have open, and recovers such moves. */
export class QemuMover implements LiveMover {
  async move(pool: Pool, volume: Volume, to: Extent, options: MoveOptions): Promise<void> {
    const use = volume.holder?.qemu;
    if (use === undefined) throw failed(pool, volume, 'it is not known which QEMU has it open');
    const names = namesFor(volume, use);
    await using qmp = await connectMonitor(use, volume.holder?.name ?? volume.name, options.signal);
    await pool.commit(begun(pool.catalog, volume, to, names));
    try {
      await mirror(pool, qmp, volume, to, names, options);
    } catch (error) {
      await takeBack(qmp, names);
      await pool.commit(settled(pool.catalog));
      if (options.signal.aborted || (error instanceof ShadowferryError && error.code === 'POOL_MOVE_FAILED'))
        throw error;
      throw failed(pool, volume, reasonOf(error), error);
    }
    await pool.commit(switched(pool.catalog, volume, to, names));
    if (await takeForward(qmp, names)) return pool.commit(settled(pool.catalog));
    await pool.commit(switchedBack(pool.catalog, volume, volume, names));
    throw failed(pool, volume, 'its QEMU did not leave the old place');
  }
}

/** The QEMUs of volumes, for `recover`. `ended`: the volume whose QEMU has ended, as an operator says. */
export class QemuRecovery implements LiveRecovery {
  readonly #pool: string;
  readonly #signal: AbortSignal;
  readonly #ended: string | undefined;

  constructor(pool: string, signal: AbortSignal, ended?: string) {
    this.#pool = pool;
    this.#signal = signal;
    this.#ended = ended;
  }

  async takeBack(volume: Volume, use: QemuUse, names: LiveMove): Promise<'done' | 'gone'> {
    return this.#with(volume, use, async (qmp) => {
      await takeBack(qmp, names);
      return 'done' as const;
    });
  }

  async takeForward(volume: Volume, use: QemuUse, names: LiveMove): Promise<'done' | 'gone' | 'stayed'> {
    return this.#with(volume, use, async (qmp) => ((await takeForward(qmp, names)) ? 'done' : 'stayed'));
  }

  async #with<T>(volume: Volume, use: QemuUse, act: (qmp: QmpClient) => Promise<T>): Promise<T | 'gone'> {
    if (volume.name === this.#ended) return 'gone';
    const qmp = await monitorAfterCrash(this.#pool, volume, use, this.#signal);
    if (qmp === 'gone') return 'gone';
    await using client = qmp;
    return await act(client);
  }
}
