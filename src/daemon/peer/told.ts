/** What a destination told, as the coordinator's own words. Pure. */
import type { Attached, NicSettled, Order, StagedNic } from '../../migration/destination/destination.ts';
import { errorOf } from '../../migration/incoming/error-text.ts';
import type {
  AttachedText,
  OrderText,
  SettledText,
  StagedText,
} from '../../migration/incoming/wire-model.ts';

export function attachedOf({ replayed, failed }: AttachedText): Attached {
  return {
    replayed: new Map(Object.entries(replayed)),
    failed: new Map(Object.entries(failed).map(([nic, error]) => [nic, errorOf(error)])),
  };
}

/** @throws why the comparison did not come to its end */
export function settledOf({ nics, error }: SettledText): ReadonlyMap<string, NicSettled> {
  if (error !== undefined) throw errorOf(error);
  return new Map(Object.entries(nics).map(([nic, { persisted, ...rest }]) => [nic, { ...rest, persisted }]));
}

/** An order as it is sent. */
export function orderText({ handOver, spec, nics, disks, capabilities, limits, persist }: Order): OrderText {
  return {
    ...{ handOver: { ...handOver }, spec, limits, persist },
    capabilities: { ...capabilities },
    nics: nics.map((move) => ({ ...move })),
    disks: disks.map((disk) => ({ ...disk })),
  };
}

export function stagedText({ standbyPciPath, manager, ...rest }: StagedNic): StagedText {
  const { client, ...known } = manager;
  return {
    ...rest,
    ...(standbyPciPath === undefined ? {} : { standbyPciPath }),
    manager: {
      ...known,
      report: [...known.report],
      notes: [...known.notes],
      problems: [...known.problems],
      client,
    },
  };
}
