/** What was found out about a VM that ran before we knew of it, and what can be done with it. */
import { z } from 'zod';

/** One thing that one does with VMs, and whether it can be done with this one. */
export const Ability = z.object({
  what: z.enum([
    'watch',
    'pause',
    'stop',
    'start',
    'console',
    'guest',
    'shadow',
    'swap',
    'migrate',
    'bridge',
  ]),
  can: z.boolean(),
  /** What makes it possible, or what is missing. */
  reason: z.string(),
});
export type Ability = z.infer<typeof Ability>;

export const Adopted = z.object({
  /** The monitor by which it was adopted. */
  socket: z.string(),
  /** Whether it is built as our own VMs are, so that all that drives those drives it too. */
  whole: z.boolean(),
  abilities: z.array(Ability),
});
export type Adopted = z.infer<typeof Adopted>;
