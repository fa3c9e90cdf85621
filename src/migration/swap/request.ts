/** What a user asks of a swap or a rescue. */
import { z } from 'zod';
import { Continuity } from '../../shadow/net/plan-model.ts';
import { Limits, OnLoss } from '../request.ts';

export const SwapRequest = z.object({
  kind: z.enum(['swap', 'rescue']).default('swap'),
  /** The VM, or the machine itself. */
  vm: z.string().min(1),
  /** The NIC by its id, or the name of the device behind it; may be left out where there is only one. */
  device: z.string().min(1).optional(),
  /** The device that comes, by the host's name for it. */
  with: z.string().min(1),
  continuity: z.enum([...Continuity.options, 'auto']).default('auto'),
  onLoss: OnLoss.default('adapt'),
  dryRun: z.boolean().default(false),
  /** Write what makes the interface the same after the next boot. */
  persist: z.boolean().default(false),
  limits: Limits.default(() => Limits.parse({})),
});
export type SwapRequest = z.infer<typeof SwapRequest>;
