/** Queueing of an interface: qdiscs, classes and filters, in an order in which each finds what it hangs below. */
import { filterKey, qdiscKey, tcClassKey } from './keys.ts';
import type { NetShadow, Qdisc, TcClass, TcFilter } from './model.ts';
import { type Draft, draft, type Findings } from './plan-draft.ts';

const isSide = ({ kind }: Qdisc): boolean => kind === 'ingress' || kind === 'clsact';

function qdiscArguments(qdisc: Qdisc, dev: string): string[] {
  const argv = ['qdisc', 'replace', 'dev', dev];
  const before = qdisc.before ?? [];
  if (isSide(qdisc)) return [...argv, ...before, qdisc.kind, ...qdisc.args];
  argv.push(...(qdisc.parent === 'root' ? ['root'] : ['parent', qdisc.parent]));
  return [...argv, 'handle', qdisc.handle, ...before, qdisc.kind, ...qdisc.args];
}

const classArguments = ({ parent, id, kind, args }: TcClass, dev: string): string[] => [
  ...['class', 'replace', 'dev', dev, 'parent', parent, 'classid', id, kind],
  ...args,
];

function placeArguments(place: string, dev: string): string[] {
  if (place.startsWith('block ')) return place.split(' ');
  if (place === 'ingress' || place === 'egress') return ['dev', dev, place];
  return ['dev', dev, 'parent', place];
}

/** Handles that follow from what a filter matches. */
const NO_HANDLE = new Set(['route']);

function filterArguments(filter: TcFilter, dev: string): string[] {
  const { place, protocol, pref, chain, kind, handle, args } = filter;
  return [
    ...['filter', 'replace', ...placeArguments(place, dev), 'protocol', protocol, 'pref', String(pref)],
    ...(chain === 0 ? [] : ['chain', String(chain)]),
    ...(NO_HANDLE.has(kind) ? [] : ['handle', handle]),
    kind,
    ...args,
  ];
}

/** One thing that hangs below another: `id` is what others name as their parent. */
interface Node {
  id: string;
  parent: string;
  draft: Draft;
}

/** Parents first. A qdisc hangs below a class, a class below a class or its qdisc. */
function parentsFirst(nodes: readonly Node[]): Draft[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const major = (id: string) => id.slice(0, id.indexOf(':') + 1);
  const depth = (node: Node, seen: number): number => {
    if (seen > nodes.length) return seen;
    // a band of a qdisc that makes its classes itself is not listed: there the qdisc is the parent
    const parent = byId.get(node.parent) ?? byId.get(major(node.parent));
    return parent === undefined || parent === node ? 0 : 1 + depth(parent, seen + 1);
  };
  const depths = new Map(nodes.map((node) => [node, depth(node, 0)]));
  return nodes.toSorted((a, b) => (depths.get(a) ?? 0) - (depths.get(b) ?? 0)).map((node) => node.draft);
}

/** Tables of u32 first, as filters lead to them; then as the kernel asks them, which is also how it numbers tables. */
function filterOrder(a: TcFilter, b: TcFilter): number {
  const table = ({ kind, args }: TcFilter) => (kind === 'u32' && args[0] === 'divisor' ? 0 : 1);
  return table(a) - table(b) || a.chain - b.chain || a.pref - b.pref;
}

/** Filters may be what keeps traffic out: then nothing passes before they are there. */
const isGate = (shadow: NetShadow): boolean => (shadow.filters ?? []).length > 0;

/**
 * Queueing as it was, on a device that may have some of it already: it is begun anew, since half of the qdiscs do not
 * let themselves be changed. With filters it comes before traffic, else after it.
 * @param preparing name of the interface in stage `prepare`
 */
export function tcDrafts(shadow: NetShadow, preparing: string, found: Findings): Draft[] {
  const [stage, dev] = isGate(shadow)
    ? (['prepare', preparing] as const)
    : (['rest', shadow.link.name] as const);
  const { qdiscs, classes = [], filters = [] } = shadow;
  const tc = (argv: string[], key?: string) => draft(stage, 'tc', argv, key === undefined ? [] : [key]);
  const sides = qdiscs.filter(isSide);
  const tree = qdiscs.filter((qdisc) => !isSide(qdisc));
  const nodes = [
    ...tree.map((qdisc) => ({
      id: qdisc.handle,
      parent: qdisc.parent,
      draft: tc(qdiscArguments(qdisc, dev), qdiscKey(qdisc)),
    })),
    ...classes.map((one) => ({
      id: one.id,
      parent: one.parent,
      draft: tc(classArguments(one, dev), tcClassKey(one)),
    })),
  ];
  const replayable = filters.filter((filter) => {
    const { program } = filter;
    if (program === undefined || program.pin !== undefined) return true;
    found.losses.push({ key: filterKey(filter), value: filterValue(filter), why: lostProgram(program) });
    return false;
  });
  return [
    ...(tree.length > 0 ? [tc(['qdisc', 'replace', 'dev', dev, 'root', 'pfifo'])] : []),
    ...parentsFirst(nodes),
    ...sides.map((qdisc) => tc(qdiscArguments(qdisc, dev), qdiscKey(qdisc))),
    ...clearSides(replayable, dev).map((argv) => tc(argv)),
    ...replayable.toSorted(filterOrder).map((filter) => tc(filterArguments(filter, dev), filterKey(filter))),
  ];
}

/** A filter is not changed into another one, so a side that gets some is emptied first. */
const clearSides = (filters: readonly TcFilter[], dev: string): string[][] =>
  ['ingress', 'egress']
    .filter((side) => filters.some(({ place }) => place === side))
    .map((side) => ['filter', 'del', 'dev', dev, side]);

/** Takes the queueing away from a device below a new shadow interface: packets would wait twice. */
export function clearTcDrafts(shadow: NetShadow, dev: string): Draft[] {
  const sides = shadow.qdiscs.filter(isSide).map(({ kind }) => kind);
  const root = shadow.qdiscs.some(({ parent }) => parent === 'root') ? ['root'] : [];
  return [...root, ...sides].map((which) => draft('rest', 'tc', ['qdisc', 'del', 'dev', dev, which]));
}

/** Canonical form of a filter's value. */
export function filterValue({ kind, args, program }: TcFilter): string {
  const words = [kind, ...args];
  if (program !== undefined) words.push('id', String(program.id));
  if (program?.name !== undefined) words.push('name', program.name);
  if (program?.tag !== undefined) words.push('tag', program.tag);
  return words.join(' ');
}

/** Why a program does not come back. */
export const lostProgram = ({ id, why }: { id: number; why?: string | undefined }): string =>
  `program ${id} cannot be attached again: ${why ?? 'no file below /sys/fs/bpf keeps it'}`;
