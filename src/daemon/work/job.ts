/** What the queue of a host holds: migrations, swaps and rescues that were asked for and have not ended. */
import { z } from 'zod';
import type { WaitingJob } from '../../migration/queue/queue.ts';
import { MigrationRequest } from '../../migration/request.ts';
import { SwapRequest } from '../../migration/swap/request.ts';

/** What is to be done. */
export const Work = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('migration'),
    request: MigrationRequest,
    /** Wait for a confirmation before the hand-over. */
    hold: z.boolean(),
    /** Wait where the VM is not on this host yet, instead of failing. */
    whenItComes: z.boolean(),
  }),
  z.object({ kind: z.literal('swap'), request: SwapRequest }),
  z.object({ kind: z.literal('rescue'), request: SwapRequest }),
]);
export type Work = z.infer<typeof Work>;

/** `running`: an attempt is under way, or was when the daemon ended. */
export type JobState = 'waiting' | 'running' | 'ended';

export interface Job extends WaitingJob {
  work: Work;
  state: JobState;
  /** When it was asked for, ms since the epoch. */
  createdMs: number;
  /** Attempts that began; each has an entry in the journal. */
  attempts: number;
  /** How often it was put back, also without an attempt. */
  putBacks: number;
}

/** The id of an attempt in the journal and in the hand-over: an id that was used up is never used again. */
export function attemptId(id: string, attempt: number): string {
  return attempt <= 1 ? id : `${id}.${attempt}`;
}

/** The job that an entry of the journal is an attempt of, if its id says so. */
export function jobOfAttempt(id: string): string {
  return /^(.+)\.[1-9]\d{0,8}$/.exec(id)?.[1] ?? id;
}
