/** The replay plan: ordered operations that give a new device the shadow's state. Pure data. */
import { z } from 'zod';

/** DESIGN section 4: how much survives while there is no device. */
export const Continuity = z.enum(['replay', 'hold', 'bridge']);
export type Continuity = z.infer<typeof Continuity>;

/**
 * When an operation runs, in order. `prepare`: device down, under its final name. `raise`: set up (and enslaved).
 * `traffic`: what packets need (addresses, routes, neighbours). `rest`: all that traffic does not wait for. `linked`: what
 * the kernel takes only on an interface that has a link (nexthop objects); it runs when there is one, whenever that is.
 * `noted`: what the kernel takes back when it notes a link (IPv6's MTU), which is some time after the link is there.
 */
export const Stage = z.enum(['prepare', 'raise', 'traffic', 'rest', 'linked', 'noted']);
export type Stage = z.infer<typeof Stage>;

export const Operation = z.object({
  /** Position in the set, from 1, without gaps. */
  id: z.number().int().positive(),
  stage: Stage,
  /** Program in the guest, `write` for: write argv[1] into the file argv[0], or `tune` for a function of `tuning.sh`. */
  tool: z.enum(['ip', 'tc', 'ethtool', 'bridge', 'nft', 'write', 'tune']),
  /** Arguments after the program's name. */
  argv: z.array(z.string()),
  /** Keys of the attributes that this operation restores. */
  attributes: z.array(z.string()),
});
export type Operation = z.infer<typeof Operation>;

/** `adopt`: a bare interface becomes a shadow interface. `leave`: traffic leaves the direct device. `attach`: a new device arrives. `giveback`: the shadow interface is dissolved. */
export const OperationSet = z.enum(['adopt', 'leave', 'attach', 'giveback']);
export type OperationSet = z.infer<typeof OperationSet>;

export const ReplayPlan = z.object({
  schema: z.literal(1),
  continuity: Continuity,
  standIn: z.enum(['none', 'bond', 'failover']),
  /** Identity that the new device must have; `mac` is one MAC, or several separated by blanks. */
  match: z.object({ mac: z.string(), pciPath: z.string() }),
  /** Name that the new device gets: the interface's own, or `NAME-d` below a shadow interface. */
  deviceName: z.string(),
  /** Interface that carries the addresses. */
  interfaceName: z.string(),
  standbyName: z.string().optional(),
  sets: z.record(OperationSet, z.array(Operation)),
  /** Known before anything moves, from the destination device's abilities. */
  losses: z.array(z.object({ key: z.string(), value: z.string(), why: z.string() })),
  adaptations: z.array(z.object({ key: z.string(), value: z.string(), now: z.string(), how: z.string() })),
  warnings: z.array(z.string()),
  /** Keys of attributes that nobody chose: the source's driver begins with their values. They are not set. */
  untouched: z.array(z.string()).optional(),
});
export type ReplayPlan = z.infer<typeof ReplayPlan>;
