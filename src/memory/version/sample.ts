/** What QEMU says of a running copy, at one moment. */
import { z } from 'zod';

const count = z.number().nonnegative();

export const CopySample = z.object({
  /** Since the copy began, ms. */
  atMs: count,
  /** Sent so far, bytes. */
  transferred: count,
  /** Not sent yet, as of the last look at the log of dirtied pages, bytes. */
  remaining: count,
  /** All of the VM's memory, bytes. */
  total: count,
  /** Looks at the log so far: the round that is under way. */
  round: count,
  /** Pages dirtied per second, by QEMU's own measure, which is a second old at best. */
  dirtyPages: count,
  pageSize: count.default(4096),
  /** How much of their time the vCPUs are held back for the copy's sake. */
  throttlePercent: count.default(0),
});
export type CopySample = z.infer<typeof CopySample>;
