/** A volume as QEMU sees it: a `raw` node that is an extent of a node of the pool's device. Pure. */
import type { Extent } from '../model.ts';

/** Node of the device below a volume's node. */
export const deviceNode = (node: string) => `${node}-f`;

export interface NodeOptions {
  /** Past the host's page cache. */
  direct: boolean;
  /** Whether the pool lies on a block device. */
  block: boolean;
}

/**
 * The two nodes of a volume, for `-blockdev` or `blockdev-add`, the lower one first. QEMU's own lock is off, as two
 * volumes of one pool may be open at once, and during a move both places of one are; the catalog keeps them apart.
 */
export function nodesOf(pool: string, extent: Extent, node: string, { direct, block }: NodeOptions) {
  const device = {
    driver: block ? 'host_device' : 'file',
    'node-name': deviceNode(node),
    filename: pool,
    locking: 'off',
    cache: { direct, 'no-flush': false },
  };
  const { offset, size } = extent;
  return [device, { driver: 'raw', 'node-name': node, file: deviceNode(node), offset, size }] as const;
}
