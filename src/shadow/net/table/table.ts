/** The whole table, in the order of docs/shadow.md. */
import { ADDRESSING } from './addressing.ts';
import { DEPENDENTS } from './dependents.ts';
import { DRIVER } from './driver.ts';
import { LINK } from './link.ts';
import { PORT } from './port.ts';
import { QUEUEING } from './queueing.ts';
import type { AttributeGroup } from './row.ts';
import { SYSCTL } from './sysctl.ts';
import { TUNING } from './tuning.ts';
import { UPPERS } from './uppers.ts';

export const TABLE: readonly AttributeGroup[] = [
  LINK,
  PORT,
  ADDRESSING,
  UPPERS,
  DEPENDENTS,
  QUEUEING,
  DRIVER,
  TUNING,
  SYSCTL,
];
