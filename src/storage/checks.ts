/** Whether a disk fits where it shall go. Pure: all is known before anything is touched. */
import { formatBytes } from '../base/units.ts';
import { ShadowferryError } from '../errors.ts';
import type { DiskSpec } from '../hypervisor/qemu/spec.ts';
import type { DiskFacts, DiskMove, TargetFacts } from './model.ts';

/** Where each disk that moves shall go, by its id: as asked for, else under the path that it has. @throws UNKNOWN_DISK, DISK_TARGET_TWICE */
export function targetPaths(
  vm: string,
  disks: readonly DiskSpec[],
  asked: Readonly<Record<string, string>>,
): Map<string, string> {
  const moving = disks.filter(({ storage }) => storage === 'moves');
  for (const id of Object.keys(asked)) {
    if (moving.some((disk) => disk.id === id)) continue;
    const allowed = moving.map((disk) => disk.id).join(', ') || '(there is none)';
    throw new ShadowferryError('UNKNOWN_DISK', { field: `disks.${id}`, value: id, vm, allowed });
  }
  const paths = new Map<string, string>();
  for (const disk of moving) {
    const path = asked[disk.id] ?? disk.path;
    const other = [...paths].find(([, taken]) => taken === path)?.[0];
    if (other !== undefined)
      throw new ShadowferryError('DISK_TARGET_TWICE', { field: `disks.${disk.id}`, path, other });
    paths.set(disk.id, path);
  }
  return paths;
}

/** Room for a qcow2 that is written all over: 8 bytes of map and 2 of count for each cluster, and its head. */
const qcow2Most = (virtualBytes: number) => virtualBytes + Math.ceil(virtualBytes / 4096) + 4 * 1024 ** 2;

interface Place {
  vm: string;
  host: string;
  from: DiskFacts;
  target: TargetFacts;
}

/** Whether an old image of this very disk is there, which may be replaced. */
const isOldOne = ({ vm, from, target: { leftBy } }: Place) => leftBy?.vm === vm && leftBy.disk === from.id;

/** The migration by which a disk left an image there that is whole but for what was written since; undefined: none. */
function versionThere({ from, target: { leftBy } }: Place): string | undefined {
  return leftBy?.intact === true && from.changed.has(leftBy.migration) ? leftBy.migration : undefined;
}

/** What stands against a place, whatever goes there; undefined: nothing does. */
export function placeProblem(disk: string, host: string, target: TargetFacts): ShadowferryError | undefined {
  const { path, what, inUse, readOnly } = target;
  const about = { disk, path, host };
  const refused = what === 'other' ? 'it is neither a file nor a block device' : target.refused;
  if (refused !== undefined) return new ShadowferryError('DISK_TARGET_REFUSED', { ...about, why: refused });
  if (inUse !== undefined) return new ShadowferryError('DISK_IN_USE', { ...about, why: inUse });
  if (readOnly !== undefined) return new ShadowferryError('DISK_READ_ONLY', { ...about, why: readOnly });
  return undefined;
}

/** What stands against a disk's going to a place; undefined: nothing does. */
function problem(place: Place): ShadowferryError | undefined {
  const { host, from, target } = place;
  const { what, bytes = 0, logicalBlock = 512 } = target;
  const { id: disk, format, virtualBytes, guestBlock } = from;
  const about = { disk, path: target.path, host };
  const unfit = placeProblem(disk, host, target);
  if (unfit !== undefined) return unfit;
  if (what === 'file') return isOldOne(place) ? undefined : new ShadowferryError('DISK_TARGET_EXISTS', about);
  if (what === 'nothing') return undefined;
  if (logicalBlock > guestBlock)
    return new ShadowferryError('DISK_BLOCK_SIZE', { ...about, has: logicalBlock, needed: guestBlock });
  // the guest sees a raw device as large as it is; a qcow2 says itself how large its disk is
  const needed = format === 'raw' ? virtualBytes : qcow2Most(virtualBytes);
  if (format === 'raw' ? bytes === needed : bytes >= needed) return undefined;
  return new ShadowferryError('DISK_SIZE_DIFFERS', { ...about, has: bytes, needed });
}

/** Disks that go to one file system share its room. @throws DISK_NO_ROOM */
function checkRoom(places: readonly Place[]): string[] {
  const needed = new Map<string, number>();
  return places.flatMap(({ host, from, target }) => {
    const { fileSystem = target.path, freeBytes } = target;
    if (target.what === 'device' || freeBytes === undefined) return [];
    // what an old image there takes is free again before it is needed
    const free = freeBytes + (target.what === 'file' ? (target.bytes ?? 0) : 0);
    const all = (needed.get(fileSystem) ?? 0) + from.allocatedBytes;
    needed.set(fileSystem, all);
    const { id: disk, virtualBytes } = from;
    const room = { disk, path: target.path, host, needed: formatBytes(all), free: formatBytes(free) };
    if (all > free) throw new ShadowferryError('DISK_NO_ROOM', room);
    if (virtualBytes <= free) return [];
    const most = formatBytes(virtualBytes);
    return [`disk ${disk} can grow to ${most}, and host "${host}" has ${room.free} free at ${target.path}`];
  });
}

function lostFiles({ from: { id, missing } }: Place): string[] {
  if (missing.length === 0) return [];
  const files = missing.join(', ');
  return [
    `disk ${id} is made of ${files}, which is not there any more: only its QEMU can read it still; its copy does not need it`,
  ];
}

/**
 * The moves of all disks of a VM.
 * @param found by disk, what is known of it and of the place that it shall go to
 * @returns the moves, and what is to be told of them
 * @throws what stands against the first that does not fit: DISK_TARGET_REFUSED, DISK_TARGET_EXISTS, DISK_IN_USE,
 * DISK_READ_ONLY, DISK_SIZE_DIFFERS, DISK_BLOCK_SIZE, DISK_NO_ROOM
 */
export function planMoves(
  vm: string,
  host: string,
  found: readonly { from: DiskFacts; target: TargetFacts }[],
): { moves: DiskMove[]; warnings: string[] } {
  const places = found.map((each): Place => ({ ...each, vm, host }));
  for (const place of places) {
    const stands = problem(place);
    if (stands !== undefined) throw stands;
  }
  const warnings = [...places.flatMap(lostFiles), ...checkRoom(places)];
  const moves = places.map((place): DiskMove => {
    const { from, target } = place;
    const { id, format, virtualBytes } = from;
    const at = target.what === 'device' ? 'device' : 'file';
    const replaces = isOldOne(place) && target.what === 'file';
    const since = replaces ? versionThere(place) : undefined;
    const to = { id, path: target.path, format, at, replaces, virtualBytes } as const;
    return { from, to: since === undefined ? to : { ...to, since } };
  });
  return { moves, warnings };
}
