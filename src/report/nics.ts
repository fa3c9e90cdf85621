/** What became of each direct NIC, where a VM has several. */
import { type Markup, markup } from './markup.ts';
import type { MigrationReport, NicOutcome } from './model.ts';
import { table } from './table.ts';

function arrived({ to, error }: NicOutcome): string {
  if (to.driver !== null) return `${to.device}: ${to.model} (driver ${to.driver})`;
  return `${to.device}: ${to.model}, not there${error === undefined ? '' : `: ${error}`}`;
}

/** A table of the NICs; undefined where there is one only, as the rest of the page is about it. */
export function nicsSection({ nics }: MigrationReport): Markup | undefined {
  if (nics.length < 2) return undefined;
  return markup`${table(
    `${nics.length} direct devices`,
    [
      { title: 'NIC' },
      { title: 'Network' },
      { title: 'From' },
      { title: 'To', kind: 'wide' },
      { title: 'Continuity' },
      { title: 'Restored', kind: 'number' },
      { title: 'Adapted', kind: 'number' },
      { title: 'Lost', kind: 'number' },
    ],
    nics.map((nic) => [
      nic.nic,
      nic.network ?? '–',
      `${nic.from.device}: ${nic.from.model} (driver ${nic.from.driver})`,
      arrived(nic),
      nic.continuity ?? '–',
      `${nic.restored} of ${nic.captured}`,
      String(nic.adapted),
      String(nic.lost),
    ]),
  )}`;
}
