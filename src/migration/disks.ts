/** The disks of a VM that go over with it: planned in preflight, and left behind at the end. */
import { formatBytes } from '../base/units.ts';
import { reasonOf } from '../errors.ts';
import type { DiskSpec, VmSpec } from '../hypervisor/qemu/spec.ts';
import { planMoves, targetPaths } from '../storage/checks.ts';
import { leaveBehind, type OldDisk } from '../storage/left-behind.ts';
import type { DiskMove } from '../storage/model.ts';
import { diskFacts } from '../storage/source-disks.ts';
import type { HandOver } from './protocol/record.ts';
import { decide, type Run, warn } from './run.ts';

/**
 * Asks both sides about the disks that move; changes nothing.
 * @throws UNKNOWN_DISK, DISK_TARGET_TWICE, and what `planMoves` throws
 */
export async function planDisks(run: Run, signal: AbortSignal): Promise<readonly DiskMove[]> {
  const { spec, monitor } = run.source.qemu;
  const { destination } = run;
  const paths = targetPaths(spec.name, spec.disks, run.request.disks);
  if (paths.size === 0) return [];
  const [facts, places] = await Promise.all([
    diskFacts(monitor, spec.disks, signal),
    destination.places([...paths.values()], signal),
  ]);
  const at = [...paths.keys()];
  const found = facts.flatMap((from) => {
    const target = places[at.indexOf(from.id)];
    return target === undefined ? [] : [{ from, target }];
  });
  const { moves, warnings } = planMoves(spec.name, destination.name, found);
  for (const { from, to } of moves) {
    const place = run.request.disks[to.id] === undefined ? 'the path that it has' : 'asked for';
    const changed = to.since === undefined ? undefined : from.changed.get(to.since);
    const all = `all of it, ${formatBytes(from.allocatedBytes)}`;
    const what =
      changed === undefined ? all : `what was written since it left there, ${formatBytes(changed)}`;
    const reason = `${place}; ${what}`;
    decide(run, { action: `disk ${from.id} → ${destination.name}:${to.path}`, reason });
  }
  for (const text of warnings) warn(run, text);
  return moves;
}

/** The disks as the destination has them. */
export function movedDisks(disks: readonly DiskSpec[], moves: readonly DiskMove[]): DiskSpec[] {
  return disks.map((disk) => {
    const to = moves.find((move) => move.to.id === disk.id)?.to;
    return to === undefined ? disk : { ...disk, path: to.path, at: to.at };
  });
}

/**
 * The source's images are out of date now: they are marked as that, or removed. Repeating it does no harm.
 * @returns what did not work, a sentence each: the VM has its disks on the destination all the same
 */
export function leaveDisks(
  { name, disks }: Pick<VmSpec, 'name' | 'disks'>,
  { id: migration, destination: to }: Pick<HandOver, 'id' | 'destination'>,
  policy: OldDisk,
): string[] {
  const at = new Date().toISOString();
  return disks.flatMap((disk) => {
    if (disk.storage !== 'moves') return [];
    try {
      leaveBehind(disk, policy, { vm: name, disk: disk.id, migration, to, at });
      return [];
    } catch (error) {
      return [`the old image of disk ${disk.id} stays as it is at ${disk.path}: ${reasonOf(error)}`];
    }
  });
}
