/** Cases of queues, interrupts and what else is set on a driver. */
import { type AttributeCase, type Expectation, fileCase } from './case.ts';

const CLASS = '/sys/class/net/$dev';

const queue = (number: string, knob: string, value: string, expect?: Expectation): AttributeCase =>
  fileCase(`queue.${number}.${knob}`, `${CLASS}/queues/${number}/${knob}`, value, expect);

/** The mask of the first vector whose name ends so, of the direct device and no other. */
const vector = (...endings: string[]): string => `
for irq in /sys/class/net/"$dev"/device/msi_irqs/* /sys/class/net/"$dev"/device/../msi_irqs/*; do
  for action in /proc/irq/"\${irq##*/}"/*/; do
    case $action in ${endings.map((ending) => `*${ending}/`).join(' | ')}) $aim "\${action%/*/}/smp_affinity" ;; esac
  done
done`;

const aimed = (key: string, mask: string, endings: string[], expect?: Expectation): AttributeCase => ({
  key,
  set: `put() { echo ${mask} >"$1"; }; aim=put${vector(...endings)}`,
  read: `aim=cat${vector(...endings)}`,
  ...(expect === undefined ? {} : { expect }),
});

const TABLE = `ethtool -x "$dev" | sed -n '/^ *[0-9][0-9]*:/p'`;

const fixed = (key: string, read: string, value: RegExp, expect?: Expectation): AttributeCase => ({
  key,
  set: '',
  read,
  value,
  ...(expect === undefined ? {} : { expect }),
});

/** What an e1000e has and a vmxnet3 has or has not. */
export const TUNING_LOSSES: readonly AttributeCase[] = [
  {
    key: 'wake.on',
    set: 'ethtool -s "$dev" wol u',
    read: `ethtool "$dev" | grep '	Wake-on:'`,
  },
  {
    key: 'message.level',
    set: 'ethtool -s "$dev" msglvl 0x3',
    read: `ethtool "$dev" | grep 'message level' || echo none`,
    expect: { fate: 'lost', why: /has no message level/ },
  },
  fixed('clock.index', `ethtool -T "$dev" | grep Clock:`, /Clock: 0/, {
    fate: 'lost',
    why: /has no clock/,
  }),
  fixed('clock.stamps', `ethtool -T "$dev" | grep 'hardware-tr' || echo none`, /hardware-transmit/, {
    fate: 'lost',
    why: /has no clock/,
  }),
  fileCase('napi.gro_flush_timeout', `${CLASS}/gro_flush_timeout`, '30000'),
  fileCase('napi.napi_defer_hard_irqs', `${CLASS}/napi_defer_hard_irqs`, '2'),
  fileCase('napi.threaded', `${CLASS}/threaded`, '1'),
  {
    ...queue('tx-0', 'byte_queue_limits/limit_max', '500000'),
    key: 'queue.tx-0.bql_limit_max',
  },
  { ...queue('tx-0', 'byte_queue_limits/limit_min', '2000'), key: 'queue.tx-0.bql_limit_min' },
  { ...queue('tx-0', 'byte_queue_limits/hold_time', '500'), key: 'queue.tx-0.bql_hold_time' },
];

/** What nobody can tell a virtio-net. */
export const MEDIA_LOSSES: readonly AttributeCase[] = [
  {
    key: 'media.advertise',
    set: 'ethtool -s "$dev" advertise 0x28',
    read: `ethtool "$dev" | grep -A 2 'Advertised link modes:'`,
    expect: { fate: 'lost', why: /no such setting of its link|not supported|invalid/i },
  },
];

/** From a device with a vector for each queue and direction to one with a vector for each pair. */
export const OTHER_VECTORS: readonly AttributeCase[] = [
  { key: 'rss.spread', set: 'ethtool -X "$dev" weight 3 1', read: TABLE },
  {
    key: 'rss.key',
    set: `ethtool -X "$dev" hkey ${Array.from({ length: 40 }, () => 'a7').join(':')}`,
    read: `ethtool -x "$dev" | grep '..:..:' || echo none`,
    expect: { fate: 'lost', why: /cannot be told a key/ },
  },
  fixed('rss.function', `ethtool -x "$dev" | grep toeplitz`, /toeplitz: on/),
  {
    key: 'flow-hash.udp4',
    set: 'ethtool -N "$dev" rx-flow-hash udp4 sd',
    read: 'ethtool -n "$dev" rx-flow-hash udp4 2>&1',
    expect: { fate: 'lost', why: /cannot be told which fields/ },
  },
  queue('rx-0', 'rps_cpus', '2'),
  queue('rx-1', 'rps_flow_cnt', '64'),
  queue('tx-0', 'xps_cpus', '3'),
  fileCase('queue.rps_sock_flow_entries', '/proc/sys/net/core/rps_sock_flow_entries', '512'),
  aimed('irq.rx-0', '2', ['input.0', 'rxtx-0'], { fate: 'adapted', now: /^[23]$/, how: /interrupt both-0/ }),
];

/** From three queues of four to a device that has two. */
export const FEWER_QUEUES: readonly AttributeCase[] = [
  {
    key: 'channel.combined',
    set: 'ethtool -L "$dev" combined 3',
    read: `ethtool -l "$dev" | grep Combined: | tail -n 1`,
    expect: { fate: 'adapted', now: /2/, how: /takes at most 2/ },
  },
  {
    key: 'rss.spread',
    set: 'ethtool -X "$dev" weight 1 2 5',
    read: TABLE,
    expect: { fate: 'adapted', now: /^ *0: +0/, how: /2 receive queues/ },
  },
  queue('rx-1', 'rps_cpus', '2'),
  {
    ...queue('rx-2', 'rps_cpus', '1', { fate: 'adapted', now: /^0*1$/, how: /2 receive queues.*rx-0/ }),
    read: `cat "${CLASS}/queues/rx-2/rps_cpus" 2>/dev/null || cat "${CLASS}/queues/rx-0/rps_cpus"`,
  },
  queue('tx-1', 'xps_rxqs', '2'),
  aimed('irq.tx-1', '1', ['output.1']),
];
