/** Every threshold of the strategy, with its default. docs/memory.md tells why they are what they are. */
import { z } from 'zod';

/** A day. */
const MOST_MS = 86_400_000;
const ms = z.number().int().min(1).max(MOST_MS);
const rounds = z.number().int().max(1000);
const percent = z.number().int().min(1).max(99);

export const StrategyOptions = z.strictObject({
  observeOnly: z
    .boolean()
    .describe(
      'Say what would be done, and only end what is over its budget or over a dead link. Default: false.',
    ),
  firstDowntimeMs: ms.describe(
    'Blackout that is aimed at first, ms. QEMU stops the VM as soon as the rest fits. Default: 20.',
  ),
  margin: z
    .number()
    .min(0)
    .max(0.5)
    .describe(
      'Share by which a round must be better than the best before it; else it stands still. Default: 0.04.',
    ),
  stallRounds: rounds.min(1).describe('Rounds that stand still before something is done. Default: 2.'),
  patienceRounds: rounds
    .min(0)
    .describe(
      'Rounds to wait for one as small as the best, before a worse one will do; halved each time. Default: 4.',
    ),
  rateHalfLifeMs: ms.describe('Age at which a measurement of the link counts half, ms. Default: 1000.'),
  measureMs: ms.describe(
    'How long the link is measured before the first round may be given up, ms. Default: 500.',
  ),
  hopelessRatio: z
    .number()
    .min(0.01)
    .max(1000)
    .describe(
      'Pre-copy is given up when the guest changes its memory so many times as fast as the link is. Default: 1.',
    ),
  dropMs: ms.describe(
    'Without a byte for so long, ms, a link is known to drop: no post-copy over it. Default: 3000.',
  ),
  quietMs: ms.describe('Without a byte for so long, ms, post-copy is not begun now. Default: 1000.'),
  postcopyBudgets: z
    .number()
    .min(1)
    .max(10)
    .describe(
      'The rest of a post-copy must fit into so many budgets, less the time that has passed. Default: 2.',
    ),
  switchMs: ms.describe(
    'Time that QEMU has for the switch to post-copy, ms; then the copy is taken back. Default: 30000.',
  ),
  throttle: z
    .boolean()
    .describe("Slow the guest down (QEMU's auto-converge) before post-copy. Default: false."),
  throttleInitial: percent.describe('Share of its time that the guest loses at first, percent. Default: 20.'),
  throttleIncrement: percent.describe('By how much that grows, percent. Default: 10.'),
  throttleMax: percent.describe('The most that it loses, percent. Default: 80.'),
  throttleRounds: rounds
    .min(1)
    .describe(
      'Rounds that slowing down has to show what it does, before the next means is taken. Default: 6.',
    ),
});
export type StrategyOptions = z.infer<typeof StrategyOptions>;

export const DEFAULT_OPTIONS: StrategyOptions = {
  observeOnly: false,
  firstDowntimeMs: 20,
  margin: 0.04,
  stallRounds: 2,
  patienceRounds: 4,
  rateHalfLifeMs: 1000,
  measureMs: 500,
  hopelessRatio: 1,
  dropMs: 3000,
  quietMs: 1000,
  postcopyBudgets: 2,
  switchMs: 30_000,
  throttle: false,
  throttleInitial: 20,
  throttleIncrement: 10,
  throttleMax: 80,
  throttleRounds: 6,
};

/** Some of them; the others have their defaults. */
export const StrategyTuning = StrategyOptions.partial();
export type StrategyTuning = z.infer<typeof StrategyTuning>;

/** All thresholds, from those that were given. */
export function optionsOf(tuning: StrategyTuning): StrategyOptions {
  const given = Object.fromEntries(Object.entries(tuning).filter(([, value]) => value !== undefined));
  return StrategyOptions.parse({ ...DEFAULT_OPTIONS, ...given });
}
