/** Shadows, versions and changes as text, for people. Pure. */
import { formatMs } from '../base/units.ts';
import type { Known } from '../observe/present.ts';
import { attributesOf } from '../shadow/net/attributes.ts';
import type { NetShadow } from '../shadow/net/model.ts';
import type { Change } from '../shadow/store/changes.ts';
import type { ShadowVersion } from '../shadow/store/store.ts';

/** Headings by the first word of a key, in the order of the page; what is not here has its own word for a heading. */
const HEADINGS: readonly (readonly [kind: string, heading: string])[] = [
  ['hardware', 'device'],
  ['standin', 'shadow interface'],
  ['bond', 'shadow interface'],
  ['standby', 'standby'],
  ['link', 'link'],
  ['lower', 'device below the shadow interface'],
  ['address', 'addresses'],
  ['route', 'routes'],
  ['rule', 'rules'],
  ['neighbour', 'neighbours'],
  ['qdisc', 'queueing'],
  ['multicast', 'multicast'],
  ['ring', 'driver: rings'],
  ['channel', 'driver: channels'],
  ['coalesce', 'driver: coalescing'],
  ['pause', 'driver: pause frames'],
  ['feature', 'driver: offloads'],
  ['sysctl', 'sysctls'],
];

/** Long lists that are only counted, unless all is asked for. */
const COUNTED = new Set(['driver: offloads', 'sysctls']);

export interface Section {
  heading: string;
  rows: (readonly [name: string, value: string])[];
}

/** Escapes what a terminal would act on. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

function headingOf(key: string): { heading: string; name: string } {
  const [kind = '', ...rest] = key.split('.');
  const heading = HEADINGS.find(([word]) => word === kind)?.[1] ?? kind;
  return { heading, name: rest.join('.') };
}

/** The attributes of a shadow under headings, with the device first and what was not understood last. */
export function sectionsOf(shadow: NetShadow): Section[] {
  const sections = new Map<string, Section>();
  const add = (heading: string, name: string, value: string) => {
    const section = sections.get(heading) ?? { heading, rows: [] };
    sections.set(heading, section);
    section.rows.push([name, value]);
  };
  for (const [, heading] of HEADINGS) sections.set(heading, { heading, rows: [] });
  const { hardware, standIn, standby } = shadow;
  if (hardware === undefined) add('device', 'away', 'no direct device is there');
  else {
    const version = hardware.driverVersion === undefined ? '' : ` (version ${hardware.driverVersion})`;
    add('device', 'driver', `${hardware.driver}${version}`);
    add('device', 'is', `${hardware.pciId} at ${hardware.pciPath}, ${hardware.mac}, named ${hardware.name}`);
  }
  if (standIn.kind === 'none') add('shadow interface', 'kind', 'none');
  else {
    add('shadow interface', 'kind', `${standIn.kind} ${standIn.name}`);
    if (standIn.kind === 'bond')
      add('shadow interface', 'members', `${standIn.members.join(', ')}; active ${standIn.active ?? 'none'}`);
  }
  if (standby !== undefined) add('standby', 'is', `${standby.name}, ${standby.driver} at ${standby.pciPath}`);
  for (const { key, value } of attributesOf(shadow)) {
    const { heading, name } = headingOf(key);
    add(heading, name, value);
  }
  for (const { where, text } of shadow.unknown) add('not understood, only reported', where, text);
  return [...sections.values()].filter(({ rows }) => rows.length > 0);
}

function renderSection({ heading, rows }: Section, all: boolean): string[] {
  if (!all && COUNTED.has(heading)) return [`${heading}: ${rows.length} (--all lists them)`];
  const width = Math.min(44, Math.max(...rows.map(([name]) => printable(name).length)));
  return [
    heading,
    ...rows.map(([name, value]) => `  ${printable(name).padEnd(width)}  ${printable(value)}`.trimEnd()),
  ];
}

const time = (ms: number) => new Date(ms).toISOString();

/** `version 7 (1.0.2.0)` */
export function versionName({ seq, label }: Pick<ShadowVersion, 'seq' | 'label'>): string {
  return `version ${seq} (${label})`;
}

/** One NIC of a VM: where what is shown comes from, then all of it. */
export function renderShadow(vm: string, known: Known, all: boolean): string {
  const { nic, version, shadow, live, why } = known;
  const head = live
    ? `${vm}, ${nic}: ${versionName(version)}, as it is now`
    : why === undefined
      ? `${vm}, ${nic}: ${versionName(version)}`
      : `${vm}, ${nic}: ${versionName(version)}, THE LAST THAT IS KNOWN: ${printable(why.message)}`;
  const since = `  since ${time(version.atMs)}, seen last ${time(version.lastSeenMs)} (${version.seen} times), first by ${version.by}`;
  const sections = sectionsOf(shadow).flatMap((section) => renderSection(section, all));
  return [head, since, ...sections.map((line) => `  ${line}`)].join('\n');
}

/** One change as a line: `~` another value, `+` came, `-` went. */
export function renderChange({ key, before, after }: Change): string {
  const name = printable(key);
  if (before === undefined) return `+ ${name}  ${printable(after ?? '')}`;
  if (after === undefined) return `- ${name}  ${printable(before)}`;
  return `~ ${name}  ${printable(before)} → ${printable(after)}`;
}

/** Changes that are told with each version, unless all are asked for. */
const FEW = 5;

/** One version in a history, with what changed. */
export function renderVersion(version: ShadowVersion, changes: readonly Change[], all: boolean): string {
  const { at, seen } = { at: time(version.atMs), seen: version.lastSeenMs - version.atMs };
  const kept = seen >= 1000 ? `, was so for ${formatMs(seen)}` : '';
  const what = changes.length === 0 ? `${version.attributes} attributes` : `${changes.length} changed`;
  const shown = all ? changes : changes.slice(0, FEW);
  const more = changes.length - shown.length;
  return [
    `${String(version.seq).padStart(4)}  ${version.label.padEnd(9)} ${at}  by ${version.by}, ${what}${kept}`,
    ...shown.map((change) => `        ${renderChange(change)}`),
    ...(more > 0 ? [`        and ${more} more (--all)`] : []),
  ].join('\n');
}
