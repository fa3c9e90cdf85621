/** What the shadow commands print for programs, and the lines of a watch. Pure. */
import type { Known } from '../observe/present.ts';
import type { VersionSaid, WatchEvent } from '../observe/watch-events.ts';
import { attributesOf } from '../shadow/net/attributes.ts';
import type { Change } from '../shadow/store/changes.ts';
import type { ShadowVersion } from '../shadow/store/store.ts';
import { printable, renderChange, versionName } from './shadow-format.ts';

/** One version, for `--json`. */
export function versionLine(version: ShadowVersion, changes: readonly Change[]) {
  const { vm: _, nic: __, ...rest } = version;
  return { ...rest, changes };
}

/** One NIC of `shadow show --json`. */
export function knownLine({ nic, version, shadow, live, why }: Known) {
  const { vm: _, nic: __, ...rest } = version;
  return {
    nic,
    live,
    why: why?.toJSON() ?? null,
    version: rest,
    attributes: attributesOf(shadow),
    unknown: shadow.unknown,
    shadow,
  };
}

const said = (version: VersionSaid) => `${version.nic} ${versionName(version)}`;

const LATE = '; something had changed since, which could not be captured any more';

/** One event of a watch, for people. */
export function renderWatchEvent(event: WatchEvent): string {
  switch (event.type) {
    case 'watching': {
      const nics = event.nics.map(said).join(', ') || 'no device shows itself';
      const deaf = event.deaf.length === 0 ? '' : `; without events of ${event.deaf.join(', ')}`;
      return `Watching ${event.vm} on ${event.host}: ${nics}${deaf}`;
    }
    case 'changed': {
      const head = `${new Date(event.atMs).toISOString()} ${said(event)}`;
      return [head, ...event.changes.map((change) => `  ${renderChange(change)}`)].join('\n');
    }
    case 'gone': {
      const last = event.last === null ? 'nothing is known of it' : `last known: ${said(event.last)}`;
      return `${event.nic} DOES NOT SHOW ITSELF: ${printable(event.why)}; ${last}${event.late ? LATE : ''}`;
    }
    case 'back':
      return `${event.nic} shows itself again: ${versionName(event)}`;
    case 'away':
      return `Not seen for now: ${printable(event.why)} (${event.code})`;
    case 'ended':
      return `The watch of ${event.vm} has ended.`;
  }
}
