/** Calls that begin, cancel and confirm migrations, swaps and rescues. */
import { z } from 'zod';
import { Strategy } from '../../memory/strategy/choose.ts';
import { StrategyTuning } from '../../memory/strategy/options.ts';
import { ContinuityWish, Limits, OnLoss } from '../../migration/request.ts';
import { OldDisk } from '../../storage/left-behind.ts';
import { Name } from '../config/model.ts';
import { ById, Nothing, OfVm, post } from './contract-parts.ts';
import type { Endpoint } from './endpoint.ts';
import { Migration, MigrationDetail, PathId, Reattachment } from './model.ts';

/** A day: what is waited for longer has been forgotten. */
const MOST_MS = 86_400_000;
const bounded = (about: string) => z.number().int().min(1).max(MOST_MS).optional().describe(`${about}, ms.`);

const LimitsBody = z
  .strictObject({
    unplugMs: bounded('Longest wait for the guest to release its device'),
    copyMs: bounded('Longest copy of memory before pre-copy is given up'),
    diskMs: bounded('Longest copy of the disks that move, before the VM leaves'),
    stallMs: bounded('Longest time without a byte sent'),
    attachMs: bounded('Longest wait for the new device to carry traffic, per try'),
    attachTries: z.number().int().min(1).max(20).optional().describe('Tries to plug the new device.'),
    agentMs: bounded('Longest wait for an answer of the guest'),
  })
  .default({})
  // what is left out has the same value as for the command line
  .transform((given) => Limits.parse(given));

/** NICs by their id, at most as many as a VM may have. */
const perNic = <T extends z.ZodType>(value: T) =>
  z
    .record(PathId, value)
    .default({})
    .refine((each) => Object.keys(each).length <= 16, 'at most 16 NICs');

const common = {
  continuity: ContinuityWish.default('auto'),
  onLoss: OnLoss.default('adapt').describe('What to do when the new device cannot have all that was set.'),
  dryRun: z.boolean().default(false).describe('Look and plan only; the answer has the plan in its result.'),
  persist: z
    .boolean()
    .default(false)
    .describe('Write into the guest what makes its interfaces the same after its next boot.'),
  limits: LimitsBody,
};

export const MigrationBody = z
  .strictObject({
    vm: PathId,
    destination: Name.describe('Host that it goes to.'),
    devices: perNic(Name).describe(
      'Device of the destination by the NIC that gets it; else the first free one.',
    ),
    continuityOf: perNic(ContinuityWish).describe('Continuity of single NICs.'),
    strategy: Strategy.default('auto').describe('How memory moves.'),
    tuning: StrategyTuning.default({}).describe('Thresholds of the strategy; see docs/memory.md.'),
    maxBandwidth: z
      .number()
      .int()
      .min(0)
      .max(2 ** 50)
      .default(0)
      .describe('Bytes per second of the copy; 0: as fast as it goes.'),
    disks: z
      .record(PathId, z.string().min(1).max(4096))
      .default({})
      .refine((each) => Object.keys(each).length <= 8, 'at most 8 disks')
      .describe('Path on the destination by the disk that goes there; else the path that it has.'),
    diskBandwidth: z
      .number()
      .int()
      .min(0)
      .max(2 ** 50)
      .default(0)
      .describe('Bytes per second of the copy of each disk; 0: as fast as it goes.'),
    oldDisks: OldDisk.default('keep').describe('What becomes of the images on this host.'),
    downtimeLimitMs: z
      .number()
      .int()
      .min(1)
      .max(2_000_000)
      .default(300)
      .describe('Longest blackout that pre-copy may aim at, ms.'),
    hold: z
      .boolean()
      .default(false)
      .describe('Wait for a confirmation before the hand-over, with the VM paused.'),
    whenItComes: z
      .boolean()
      .default(false)
      .describe('Wait while the VM is not on this host yet, instead of refusing.'),
    ...common,
  })
  .meta({ id: 'MigrationBody' });
export type MigrationBody = z.output<typeof MigrationBody>;

const SwapBody = z.strictObject({
  device: PathId.optional().describe('The NIC, or the device behind it; may be left out where there is one.'),
  with: Name.describe('The device of this host that takes its place.'),
  ...common,
});
export type SwapBody = z.output<typeof SwapBody>;

const AttachBody = z.strictObject({
  attachMs: z
    .number()
    .int()
    .min(1)
    .max(50_000)
    .default(20_000)
    .describe('Longest wait for traffic on a device, ms.'),
});

const begins = { tag: 'migrations', needs: 'operator', status: 202 } as const;

export const MIGRATION_CALLS = {
  submitMigration: post(
    '/v1/migrations',
    {
      ...begins,
      summary:
        'Migrate a VM of this host: it waits in the queue until its turn comes. A dry run is done at once',
    },
    { params: Nothing, body: MigrationBody, answer: MigrationDetail },
  ),
  cancelMigration: post(
    '/v1/migrations/{id}/cancel',
    {
      ...{ ...begins, atOnce: true },
      summary:
        'Cancel: one that waits ends at once, one that is under way goes back unless it was handed over',
    },
    { params: ById, body: Nothing, answer: Migration },
  ),
  confirmMigration: post(
    '/v1/migrations/{id}/confirm',
    { ...begins, atOnce: true, summary: 'Let one go on that waits before its hand-over' },
    { params: ById, body: Nothing, answer: Migration },
  ),
  swapDevice: post(
    '/v1/vms/{vm}/swaps',
    { ...begins, summary: 'Put another device of this host behind an interface of a VM' },
    { params: OfVm, body: SwapBody, answer: MigrationDetail },
  ),
  rescueDevice: post(
    '/v1/vms/{vm}/rescues',
    {
      ...begins,
      summary: 'Give an interface whose device died another one, with the last state that is known',
    },
    { params: OfVm, body: SwapBody, answer: MigrationDetail },
  ),
  attachDevices: post(
    '/v1/vms/{vm}/attach',
    { ...begins, status: 200, summary: 'Give a VM the devices that a migration could not give it' },
    { params: OfVm, body: AttachBody, answer: Reattachment },
  ),
} as const satisfies Record<string, Endpoint>;
