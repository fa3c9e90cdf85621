/** Block nodes of a QEMU: which there are, what a device uses, and taking them away. */
import { z } from 'zod';
import { ShadowferryError } from '../../../errors.ts';
import type { QmpClient } from '../../../hypervisor/qmp/client.ts';
import { deviceNode } from './block-nodes.ts';

const Node = z.object({
  'node-name': z.string(),
  drv: z.string(),
  cache: z.object({ direct: z.boolean() }),
  image: z.object({ 'virtual-size': z.number() }),
});
const Nodes = z.array(Node);

export interface NodeFacts {
  driver: string;
  direct: boolean;
  /** Bytes. */
  size: number;
}

/** What QEMU says of a node; undefined when it has none of that name. */
export async function nodeFacts(
  qmp: QmpClient,
  name: string,
  signal: AbortSignal,
): Promise<NodeFacts | undefined> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true }, { signal, schema: Nodes });
  const node = nodes.find((each) => each['node-name'] === name);
  if (node === undefined) return undefined;
  return { driver: node.drv, direct: node.cache.direct, size: node.image['virtual-size'] };
}

/** Takes a volume's nodes away, as far as they are there. @throws QMP_REFUSED while something uses them */
export async function removeNodes(qmp: QmpClient, node: string, signal: AbortSignal): Promise<void> {
  for (const name of [node, deviceNode(node)]) {
    if ((await nodeFacts(qmp, name, signal)) !== undefined)
      await qmp.execute('blockdev-del', { 'node-name': name }, { signal });
  }
}

/**
 * Takes a volume's nodes away unless something (a device, an export, a job) uses them, which QEMU knows best.
 * @returns whether they are away
 */
export async function removeUnused(qmp: QmpClient, node: string, signal: AbortSignal): Promise<boolean> {
  try {
    await removeNodes(qmp, node, signal);
    return true;
  } catch (error) {
    if (error instanceof ShadowferryError && error.code === 'QMP_REFUSED') return false;
    throw error;
  }
}
