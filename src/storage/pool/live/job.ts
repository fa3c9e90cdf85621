/** One background job of a QEMU, followed by its events. */
import { z } from 'zod';
import type { QmpClient } from '../../../hypervisor/qmp/client.ts';

const Jobs = z.array(
  z.object({
    id: z.string(),
    status: z.string(),
    'current-progress': z.number(),
    'total-progress': z.number(),
    error: z.string().optional(),
  }),
);
const Change = z.object({ id: z.string(), status: z.string() });

/** A job as QEMU tells it; `gone` when there is none of that name. Progress is in bytes. */
export type JobState =
  | { state: 'gone' }
  | { state: 'there'; status: string; done: number; total: number; error?: string | undefined };

export async function jobState(qmp: QmpClient, id: string, signal: AbortSignal): Promise<JobState> {
  const jobs = await qmp.execute('query-jobs', undefined, { signal, schema: Jobs });
  const job = jobs.find((each) => each.id === id);
  if (job === undefined) return { state: 'gone' };
  const { status, error } = job;
  const [done, total] = [job['current-progress'], job['total-progress']];
  return { state: 'there', status, done, total, error };
}

/**
 * Waits until the job has one of these states, or has ended: `concluded`, `null`, gone.
 * @param began the wait listens from its call on, so that what `act` triggers is not missed
 * @throws the signal's reason, QMP_CLOSED
 */
export async function untilStatus(
  qmp: QmpClient,
  id: string,
  wanted: readonly string[],
  signal: AbortSignal,
  act: () => Promise<unknown> = async () => {},
): Promise<JobState> {
  const isOne = (status: string) => wanted.includes(status) || status === 'concluded' || status === 'null';
  using change = qmp.waitFor(
    (event) => {
      const parsed = Change.safeParse(event.data);
      return event.name === 'JOB_STATUS_CHANGE' && parsed.data?.id === id && isOne(parsed.data.status);
    },
    { signal },
  );
  await act();
  const now = await jobState(qmp, id, signal);
  if (now.state === 'there' && !isOne(now.status)) await change.promise;
  return now.state === 'gone' ? now : jobState(qmp, id, signal);
}

/** Takes an ended job off QEMU's list; one that is not there is fine. */
export async function dismiss(qmp: QmpClient, id: string, signal: AbortSignal): Promise<void> {
  if ((await jobState(qmp, id, signal)).state === 'there')
    await qmp.execute('job-dismiss', { id }, { signal });
}
