/** What a running QEMU knows of its disks. */
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';
import { type DiskSpec, diskIds } from '../hypervisor/qemu/spec.ts';
import type { Qmp } from '../hypervisor/qmp/client.ts';
import type { DiskFacts } from './model.ts';
import { migrationOf } from './versions.ts';

const Image = z.object({
  filename: z.string(),
  'virtual-size': z.int(),
  'actual-size': z.int().default(0),
  get 'backing-image'() {
    return Image.optional();
  },
});
type Image = z.infer<typeof Image>;

const Bitmap = z.object({
  name: z.string().default(''),
  count: z.number(),
  recording: z.boolean(),
  inconsistent: z.boolean().default(false),
});
type Bitmap = z.infer<typeof Bitmap>;

const Nodes = z.array(
  z.object({
    'node-name': z.string().optional(),
    image: Image,
    'dirty-bitmaps': z.array(Bitmap).default([]),
  }),
);

/** What was written, by the migration since when; not what a bitmap says that did not see all of it. */
function changedSince(bitmaps: readonly Bitmap[]): Map<string, number> {
  return new Map(
    bitmaps.flatMap(({ name, count, recording, inconsistent }) => {
      const since = migrationOf(name);
      return since === undefined || !recording || inconsistent ? [] : [[since, count] as const];
    }),
  );
}

/** An image and those that it stands on, the topmost first. */
function chain(image: Image): Image[] {
  const { 'backing-image': below } = image;
  return [image, ...(below === undefined ? [] : chain(below))];
}

/**
 * Asks for the disks that move.
 * @throws INTERNAL for a disk that QEMU does not have, QMP_CLOSED, ANSWER_UNEXPECTED, the signal's reason
 */
export async function diskFacts(
  qmp: Qmp,
  disks: readonly DiskSpec[],
  signal: AbortSignal,
): Promise<DiskFacts[]> {
  const moving = disks.filter(({ storage }) => storage === 'moves');
  if (moving.length === 0) return [];
  const nodes = await qmp.execute('query-named-block-nodes', {}, { schema: Nodes, signal });
  return Promise.all(
    moving.map(async (disk): Promise<DiskFacts> => {
      const { id, path, format } = disk;
      const ids = diskIds(disk);
      const node = nodes.find((each) => each['node-name'] === ids.node);
      if (node === undefined)
        throw new ShadowferryError('INTERNAL', { why: `QEMU has no node of disk ${id}` });
      const { image } = node;
      const property = { path: `/machine/peripheral/${ids.device}`, property: 'logical_block_size' };
      const images = chain(image);
      return {
        ...{ id, path, format, virtualBytes: image['virtual-size'] },
        allocatedBytes: images.reduce((sum, each) => sum + each['actual-size'], 0),
        guestBlock: (await qmp.execute('qom-get', property, { schema: z.int(), signal })) || 512,
        changed: changedSince(node['dirty-bitmaps']),
        // one that is not a path, such as a JSON description of another protocol, cannot be looked for
        missing: images.flatMap(({ filename }) =>
          filename.startsWith('/') && !existsSync(filename) ? [filename] : [],
        ),
      };
    }),
  );
}
