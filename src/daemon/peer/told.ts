/** What a destination told, as the coordinator's own words. Pure. */
import { isErrorCode, ShadowferryError } from '../../errors.ts';
import type { Attached, NicSettled, Order, StagedNic } from '../../migration/destination/destination.ts';
import type {
  AttachedText,
  ErrorText,
  OrderText,
  SettledText,
  StagedText,
} from '../../migration/incoming/wire-model.ts';

/** An error as if it had been met here; one that this program does not know is told as it came. */
export function errorOf({ code, params }: ErrorText): ShadowferryError {
  if (isErrorCode(code)) return new ShadowferryError(code, params);
  return new ShadowferryError('MIGRATION_FAILED', {
    why: `the destination says ${code} ${JSON.stringify(params)}`,
  });
}

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
export function orderText({ handOver, spec, nics, capabilities, limits, persist }: Order): OrderText {
  return {
    ...{ handOver: { ...handOver }, spec, limits, persist },
    capabilities: { ...capabilities },
    nics: nics.map((move) => ({ ...move })),
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
