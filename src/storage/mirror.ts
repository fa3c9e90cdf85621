/**
 * The source's QEMU copies disks to the destination while their guest writes; what is written meanwhile is copied after
 * it, until the vCPUs have stopped and nothing is left.
 *
 * Not with `copy-mode: write-blocking`: a mirror that is cancelled, or fails, while a write goes to both sides uses memory
 * that it has freed (`mirror_run` frees its bitmap before it drains), and the guest's QEMU ends with it. That would make
 * the way back the most dangerous one.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import { diskIds } from '../hypervisor/qemu/spec.ts';
import type { Qmp, QmpWithEvents } from '../hypervisor/qmp/client.ts';
import { type DiskTls, TLS_OBJECT, tlsObject } from './exports.ts';
import type { DiskExport } from './model.ts';
import { bitmapSince } from './versions.ts';

const Job = z.object({
  device: z.string(),
  len: z.number(),
  offset: z.number(),
  ready: z.boolean().optional(),
  status: z.string(),
  error: z.string().optional(),
});
const Jobs = z.array(Job);
const Nodes = z.array(z.object({ 'node-name': z.string().optional() }));
const Ended = z.object({ error: z.string().optional() });

/** QEMU's names of what belongs to one disk's copy. */
const names = (disk: string) => ({
  job: `mirror-${disk}`,
  node: `away-${disk}`,
  /** Of what was written earlier, where the other side has the rest already. */
  earlierJob: `earlier-${disk}`,
  earlierNode: `away-earlier-${disk}`,
});

/** How far the copies of disks are, bytes. */
export interface MirrorFigures {
  transferred: number;
  remaining: number;
  total: number;
  /** All of it is there, and stays so. */
  ready: boolean;
}

/** From a forced end to the end, ms. */
const STOP_MS = 10_000;
const LOOK_MS = 10;

const failed = (disk: string, why: string) => new ShadowferryError('DISK_COPY_FAILED', { disk, why });

async function jobsOf(qmp: Qmp, signal?: AbortSignal) {
  return qmp.execute('query-block-jobs', undefined, { schema: Jobs, ...(signal && { signal }) });
}

export interface MirrorOptions {
  /** Bytes per second for each disk; 0: as fast as it goes. */
  speed: number;
  /** This host's certificates; undefined: copies are not encrypted. */
  tls: DiskTls | undefined;
  /** Disks of which the other side has what they were when a migration ended, with that migration. */
  since?: ReadonlyMap<string, string>;
}

/** Connects to where a disk goes. @throws DISK_COPY_FAILED when one side encrypts and the other does not */
async function connect(
  qmp: Qmp,
  node: string,
  to: DiskExport,
  { tls }: MirrorOptions,
  signal: AbortSignal,
): Promise<void> {
  const { id, host, port, name, certificate } = to;
  if ((tls === undefined) !== (certificate === undefined)) {
    const why =
      tls === undefined
        ? 'the destination encrypts, and this host has no certificate'
        : 'the destination does not encrypt';
    throw failed(id, why);
  }
  const creds = tls === undefined ? {} : { 'tls-creds': TLS_OBJECT, 'tls-hostname': certificate };
  const server = { type: 'inet', host: host.replace(/^\[(.*)\]$/, '$1'), port: String(port) };
  await qmp.execute(
    'blockdev-add',
    {
      ...{ driver: 'nbd', 'node-name': node, server, export: name, ...creds },
      // written zeroes cost neither the network nor room there
      ...{ discard: 'unmap', 'detect-zeroes': 'unmap' },
    },
    { signal },
  );
}

/** Makes the client's side of the encryption; what an earlier migration left is replaced. */
async function addCredentials(qmp: Qmp, tls: DiskTls, signal: AbortSignal): Promise<void> {
  await removeCredentials(qmp);
  await qmp.execute('object-add', tlsObject(tls, 'client'), { signal });
}

async function removeCredentials(qmp: Qmp): Promise<void> {
  try {
    await qmp.execute('object-del', { id: TLS_OBJECT });
  } catch (error) {
    if (!(error instanceof ShadowferryError && error.code === 'QMP_REFUSED')) throw error; // there is none
  }
}

/**
 * Begins to copy disks. What an earlier try left is removed first.
 * @throws DISK_COPY_FAILED, QMP_CLOSED, the signal's reason
 */
export async function startMirrors(
  qmp: Qmp,
  exports: readonly DiskExport[],
  options: MirrorOptions,
  signal: AbortSignal,
): Promise<void> {
  for (const { id } of exports) await stopMirror(qmp, id);
  if (options.tls !== undefined && exports.length > 0) await addCredentials(qmp, options.tls, signal);
  for (const to of exports) {
    try {
      await startMirror(qmp, to, options, signal);
    } catch (error) {
      if (!(error instanceof ShadowferryError && error.code === 'QMP_REFUSED')) throw error;
      throw failed(to.id, String(error.params.description));
    }
  }
}

/**
 * Where the other side has an older state of the disk, only what is written from now on is mirrored, and what was written
 * since then is copied beside it, by a job of another node. The node of that job is the lower one: a block is copied
 * before the guest's write gets to it, and the mirror sends that write after it, so the newer one is what stays.
 */
async function startMirror(
  qmp: Qmp,
  to: DiskExport,
  options: MirrorOptions,
  signal: AbortSignal,
): Promise<void> {
  const { job, node: target, earlierJob, earlierNode } = names(to.id);
  const { top, node } = diskIds(to);
  const { speed } = options;
  const since = options.since?.get(to.id);
  await connect(qmp, target, to, options, signal);
  const mirror = { 'job-id': job, device: top, target, 'copy-mode': 'background', speed };
  const sync = since === undefined ? 'full' : 'none';
  await qmp.execute('blockdev-mirror', { ...mirror, sync }, { signal });
  if (since === undefined) return;
  await connect(qmp, earlierNode, to, options, signal);
  await qmp.execute(
    'blockdev-backup',
    {
      ...{ 'job-id': earlierJob, device: node, target: earlierNode, speed },
      // never cleared: on a way back from here, all of it is to be copied again
      ...{ sync: 'bitmap', bitmap: bitmapSince(since), 'bitmap-mode': 'never' },
      'auto-dismiss': false,
    },
    { signal },
  );
}

/** How far they are. @throws DISK_COPY_FAILED for one that has ended */
export async function mirrorFigures(
  qmp: Qmp,
  disks: readonly string[],
  signal?: AbortSignal,
): Promise<MirrorFigures> {
  const jobs = await jobsOf(qmp, signal);
  const sum: MirrorFigures = { transferred: 0, remaining: 0, total: 0, ready: true };
  for (const disk of disks) {
    const { job, earlierJob } = names(disk);
    const mine = jobs.filter(({ device }) => device === job || device === earlierJob);
    const mirror = mine.find(({ device }) => device === job);
    if (mirror === undefined) throw failed(disk, 'its copy has ended with an error; QEMU’s log has more');
    for (const { len, offset, error } of mine) {
      if (error !== undefined) throw failed(disk, error);
      sum.transferred += offset;
      sum.total += len;
      sum.remaining += len - offset;
    }
    const earlier = mine.find(({ device }) => device === earlierJob);
    sum.ready &&= mirror.ready === true && (earlier === undefined || earlier.status === 'concluded');
  }
  return sum;
}

/** Rejects as soon as the copy of a disk ends with an error; never resolves. */
export function mirrorFailure(
  qmp: QmpWithEvents,
  disks: readonly string[],
  signal: AbortSignal,
): Promise<never> {
  const jobs = new Map(
    disks.flatMap((disk) => [names(disk).job, names(disk).earlierJob].map((job) => [job, disk] as const)),
  );
  const waiter = qmp.waitFor(
    (event) =>
      event.name === 'BLOCK_JOB_COMPLETED' &&
      jobs.has(String(event.data.device)) &&
      event.data.error !== undefined,
    { signal },
  );
  return waiter.promise.then(({ data }) => {
    throw failed(jobs.get(String(data.device)) ?? '', String(data.error));
  });
}

/**
 * Ends copies that are whole, with the vCPUs stopped: from here on the other side has all of each disk, and this side is
 * let go of. @throws DISK_COPY_FAILED when one was not whole, QMP_CLOSED, the signal's reason
 */
export async function finishMirrors(
  qmp: QmpWithEvents,
  disks: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { ready } = await mirrorFigures(qmp, disks, signal);
  const [first = ''] = disks;
  if (!ready) throw failed(first, 'not all of it is on the destination');
  await Promise.all(
    disks.map(async (disk) => {
      const { job } = names(disk);
      await dismissEarlier(qmp, disk, signal);
      using ended = qmp.waitFor(
        ({ name, data }) =>
          (name === 'BLOCK_JOB_COMPLETED' || name === 'BLOCK_JOB_CANCELLED') && data.device === job,
        { signal },
      );
      // the guest waits from here on, whatever bandwidth it was to share
      await qmp.execute('block-job-set-speed', { device: job, speed: 0 }, { signal });
      // of a copy that is whole this is the good end: the guest's disk stays the one that it is
      await qmp.execute('block-job-cancel', { device: job }, { signal });
      const { name, data } = await ended.promise;
      const { error } = Ended.parse(data);
      if (name !== 'BLOCK_JOB_COMPLETED' || error !== undefined)
        throw failed(disk, error ?? 'it was broken off');
      await removeNodes(qmp, disk, signal);
    }),
  );
}

/** What was written earlier is there: its job is not needed any more. */
async function dismissEarlier(qmp: Qmp, disk: string, signal: AbortSignal): Promise<void> {
  const { earlierJob: id } = names(disk);
  if ((await jobsOf(qmp, signal)).some(({ device }) => device === id))
    await qmp.execute('job-dismiss', { id }, { signal });
}

async function removeNodes(qmp: Qmp, disk: string, signal: AbortSignal): Promise<void> {
  const { node, earlierNode } = names(disk);
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true }, { schema: Nodes, signal });
  for (const { 'node-name': name } of nodes)
    if (name === node || name === earlierNode)
      await qmp.execute('blockdev-del', { 'node-name': name }, { signal });
}

/** Ends requests that wait for a link that is dead, or a peer that stands still: a cancel alone would wait with them. */
async function breakConnections(qmp: Qmp, disk: string, signal: AbortSignal): Promise<void> {
  const { node, earlierNode } = names(disk);
  for (const name of [node, earlierNode]) {
    const instances = [{ type: 'block-node', 'node-name': name }];
    try {
      await qmp.execute('yank', { instances }, { signal });
    } catch (error) {
      if (!(error instanceof ShadowferryError && error.code === 'QMP_REFUSED')) throw error; // there is none
    }
  }
}

/** Breaks the copy of a disk off, in whatever state it is; the guest goes on with its own. Repeating it does no harm. */
export async function stopMirror(qmp: Qmp, disk: string): Promise<void> {
  const signal = deadline(`the end of the copy of disk ${disk}`, STOP_MS);
  const { job, earlierJob } = names(disk);
  const asked = new Set<string>();
  await breakConnections(qmp, disk, signal);
  for (;;) {
    const left = (await jobsOf(qmp, signal)).filter(({ device }) => device === job || device === earlierJob);
    if (left.length === 0) break;
    for (const { device, status } of left) {
      // one that ends by itself meanwhile says no
      if (status === 'concluded')
        await qmp.execute('job-dismiss', { id: device }, { signal }).catch(() => {});
      else if (!asked.has(device)) {
        // by force: requests that wait for a dead link end too
        await qmp.execute('block-job-cancel', { device, force: true }, { signal }).catch(() => {});
        asked.add(device);
      }
    }
    await delay(LOOK_MS);
    signal.throwIfAborted();
  }
  await removeNodes(qmp, disk, signal);
}
