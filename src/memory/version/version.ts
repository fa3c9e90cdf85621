/**
 * The version of a VM's memory as one informational object, in four numbers (QAVNS): release, generation, features,
 * corrections. After Tajamolian and Ghasemzadeh, "A Versioning Approach to VM Live Migration" (IJE Transactions B 31(11),
 * 2018, 1838–1845). What each number counts is our reading of it: see docs/memory.md. Pure.
 */
import { z } from 'zod';
import type { Round } from './rounds.ts';

const number = z.number().int().nonnegative();

export const MemoryVersion = z.object({
  /** The memory as a whole under one owner: the epoch of the VM's record. */
  release: number,
  /** Rounds of the copy. */
  generation: number,
  /** Pages that were dirtied for the first time since the copy began. */
  features: number,
  /** Pages that were dirtied again, each time counted. */
  corrections: number,
  /**
   * Whether features and corrections are counted by the identity of pages; else `features` is the least that it can be,
   * and `corrections` the most.
   */
  exact: z.boolean(),
});
export type MemoryVersion = z.infer<typeof MemoryVersion>;

/** What somebody who sees the pages themselves (the transfer) says of one round. */
export interface PageChanges {
  generation: number;
  /** Pages that were not dirtied before in this copy. */
  first: number;
  /** Pages that were. */
  again: number;
}

export function firstVersion(release: number): MemoryVersion {
  return { release, generation: 0, features: 0, corrections: 0, exact: false };
}

/** `12.4.8210.20133`; with `~` before it when the last two numbers are bounds. */
export function versionText({ release, generation, features, corrections, exact }: MemoryVersion): string {
  return `${exact ? '' : '~'}${release}.${generation}.${features}.${corrections}`;
}

/**
 * The version after a round began, from its number and how much was found dirty. QEMU does not say which pages those
 * are: as many as any round had before may be the same ones, and what goes beyond that must be others.
 */
export function nextVersion(
  version: MemoryVersion,
  { number: generation, dirtied }: Round,
  pageSize: number,
): MemoryVersion {
  // the first round sends everything: nothing of it was dirtied
  if (version.generation === 0) return { ...version, generation };
  const pages = Math.round(dirtied / pageSize);
  const first = Math.max(0, pages - version.features);
  return withChanges(version, { generation, first, again: pages - first }, false);
}

/** The version after a round whose pages were seen. */
export function exactVersion(version: MemoryVersion, changes: PageChanges): MemoryVersion {
  return withChanges(version, changes, true);
}

function withChanges(
  { release, features, corrections }: MemoryVersion,
  { generation, first, again }: PageChanges,
  exact: boolean,
): MemoryVersion {
  return { release, generation, features: features + first, corrections: corrections + again, exact };
}

/** The version after the hand-over: all that was dirtied is in the new owner's release. */
export function released(release: number): MemoryVersion {
  return { ...firstVersion(release), exact: true };
}
