/** An interface as a port of a master: what the master keeps about it, and forgets when it leaves. Plain data. */
import { z } from 'zod';

/** A VLAN, or a run of them with the same flags, of a port of a bridge. */
export const PortVlan = z.object({
  /** `10`, `21-25`. */
  vid: z.string(),
  pvid: z.boolean(),
  untagged: z.boolean(),
  /** What `bridge vlan set` takes, where it is not as on a fresh port: `state blocking`. */
  options: z.array(z.string()),
});
export type PortVlan = z.infer<typeof PortVlan>;

/** A forwarding entry that somebody made. */
export const PortForward = z.object({
  mac: z.string(),
  vlan: z.number().int().optional(),
  /** `static`, `permanent`. */
  state: z.string(),
  /** `self` for an address of the interface itself, `sticky`, `extern_learn`. */
  flags: z.array(z.string()),
});
export type PortForward = z.infer<typeof PortForward>;

/** A multicast group that somebody sent to this port. */
export const PortGroup = z.object({
  group: z.string(),
  source: z.string().optional(),
  vid: z.number().int().optional(),
});
export type PortGroup = z.infer<typeof PortGroup>;

export const Port = z.object({
  master: z.string(),
  /** As `ip link` names it: bridge, bond. */
  kind: z.string(),
  /** By the name that `ip link set … type KIND_slave` takes. */
  settings: z.array(z.object({ name: z.string(), value: z.string() })),
  /** VLAN that the bridge gives to a new port. */
  defaultVlan: z.number().int().optional(),
  vlans: z.array(PortVlan),
  /** VLANs, or runs of them, and the tunnels that they are led to. */
  tunnels: z.array(z.object({ vid: z.string(), tunnel: z.string() })),
  forwards: z.array(PortForward),
  groups: z.array(PortGroup),
});
export type Port = z.infer<typeof Port>;
