/** Cases of queueing disciplines. */
import type { AttributeCase } from './case.ts';

const show = (pattern: string): string =>
  `tc qdisc show dev "$dev" | grep -e '${pattern}' | sed -e 's/ refcnt [0-9]*//' -e 's/ *$//'`;

export const QUEUEING_CASES: readonly AttributeCase[] = [
  {
    key: 'qdisc.root',
    set: 'tc qdisc replace dev "$dev" root handle 1: prio bands 4 priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 3',
    read: show(' root '),
  },
  {
    key: 'qdisc.1:1',
    set: 'tc qdisc add dev "$dev" parent 1:1 handle 10: sfq perturb 10 limit 100',
    read: show(' parent 1:1 '),
  },
  {
    key: 'qdisc.1:2',
    set: 'tc qdisc add dev "$dev" parent 1:2 handle 20: tbf rate 5mbit burst 20k latency 50ms',
    read: show(' parent 1:2 '),
  },
  { key: 'qdisc.ffff:fff1', set: 'tc qdisc add dev "$dev" clsact', read: show('clsact') },
];
