/** Where the disks of a VM that comes may be put. */
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import { placeProblem } from '../../storage/checks.ts';
import { targetFacts } from '../../storage/target-facts.ts';
import type { OrderText } from './wire-model.ts';

const LOOK_MS = 10_000;

/** What stands against the places of an order, looked at here: where this host keeps disks is not for the source to say. */
export async function unfitPlace(
  { name: host, diskDirectories }: Pick<Host, 'name' | 'diskDirectories'>,
  { spec, disks }: Pick<OrderText, 'spec' | 'disks'>,
): Promise<ShadowferryError | undefined> {
  const refuse = ({ id: disk, path }: { id: string; path: string }, why: string) =>
    new ShadowferryError('DISK_TARGET_REFUSED', { disk, path, host, why });
  const unmade = spec.disks.find(
    ({ id, path, storage }) =>
      storage === 'moves' && !disks.some((disk) => disk.id === id && disk.path === path),
  );
  if (unmade !== undefined) return refuse(unmade, 'it moves, and no image of it is to be made there');
  const signal = deadline('looking at the places of disks', LOOK_MS);
  for (const disk of disks) {
    const facts = await targetFacts(disk.path, diskDirectories, signal);
    const unfit = placeProblem(disk.id, host, facts);
    if (unfit !== undefined) return unfit;
    const same = facts.what === 'nothing' ? disk.at === 'file' : facts.what === disk.at;
    if (!same) return refuse(disk, 'it is not what it was when the source asked');
  }
  return undefined;
}
