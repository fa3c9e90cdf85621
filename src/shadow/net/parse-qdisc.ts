/** `tc -j -d qdisc show`. Pure. */
import { z } from 'zod';
import { isObject, type Report } from './capture-text.ts';
import type { Qdisc } from './model.ts';
import { tbfArguments } from './parse-tbf.ts';
import type { Rounding } from './tc-burst.ts';

const QdiscJson = z.looseObject({
  kind: z.string(),
  handle: z.string().default('0:'),
  dev: z.string(),
  root: z.boolean().optional(),
  parent: z.string().optional(),
  options: z.unknown(),
  ingress_block: z.number().int().optional(),
  egress_block: z.number().int().optional(),
  stab: z.unknown().optional(),
});
const QDISC_KEYS = new Set(
  'kind handle dev root parent options refcnt ingress_block egress_block stab'.split(' '),
);

/** Turns the value of one option into arguments; nothing when the value cannot be given. */
type Writer = (name: string, value: unknown) => string[] | undefined;

const number: Writer = (name, value) => (typeof value === 'number' ? [name, String(value)] : undefined);
const text: Writer = (name, value) => (typeof value === 'string' ? [name, value] : undefined);
/** Microseconds. */
const micros: Writer = (name, value) => (typeof value === 'number' ? [name, `${value}us`] : undefined);
/** CoDel counts in units of 1.024 us and prints them rounded down: one more gives the same count again. */
const codelMicros: Writer = (name, value) =>
  typeof value === 'number' ? [name, `${value + 1}us`] : undefined;
const nanos: Writer = (name, value) => (typeof value === 'number' ? [name, `${value}ns`] : undefined);
/** Printed in bytes a second, which tc writes `bps`. */
const byteRate: Writer = (name, value) => (typeof value === 'number' ? [name, `${value}bps`] : undefined);
const flag: Writer = (name, value) => (value === false ? [] : [name]);
const onOff =
  (on: string, off: string): Writer =>
  (_name, value) =>
    typeof value === 'boolean' ? [value ? on : off] : undefined;
const ignored: Writer = () => [];
const word: Writer = (_name, value) => (typeof value === 'string' ? [value] : undefined);
const numbers: Writer = (name, value) =>
  Array.isArray(value) && value.every((each) => typeof each === 'number')
    ? [name, ...value.map(String)]
    : undefined;
const ACK_FILTERS: Record<string, string[]> = {
  disabled: ['no-ack-filter'],
  enabled: ['ack-filter'],
  aggressive: ['ack-filter-aggressive'],
};
const PIE: Record<string, Writer> = {
  target: micros,
  tupdate: micros,
  alpha: number,
  beta: number,
  ecn: flag,
  bytemode: flag,
  dq_rate_estimator: flag,
};
const priomap: Writer = (_name, value) =>
  Array.isArray(value) && value.every((band) => typeof band === 'number')
    ? ['priomap', ...value.map(String)]
    : undefined;

/** Options of netem come in groups: `{"delay":{"delay":0.01,"jitter":0.001,"correlation":0}}`, in seconds and fractions. */
const netemGroup =
  (name: string, fields: readonly [string, (value: number) => string][]): Writer =>
  (_name, value) => {
    if (!isObject(value)) return undefined;
    const args: string[] = [];
    for (const [field, write] of fields) {
      const part = value[field];
      if (typeof part === 'number') args.push(write(part));
    }
    const known = new Set(fields.map(([field]) => field));
    if (!Object.keys(value).every((field) => known.has(field))) return undefined;
    return [name, ...args].flatMap((words) => words.split(' '));
  };
const percent = (value: number) => `${Number((value * 100).toPrecision(12))}%`;
const seconds = (value: number) => `${Math.round(value * 1e6)}us`;
const shares = (...names: string[]): [string, (value: number) => string][] =>
  names.map((name) => [name, percent]);
const withCorrelation = (name: string): [string, (value: number) => string][] => [
  [name, percent],
  ['correlation', percent],
];

/** Options of the kinds that are understood. */
const KINDS: Record<string, Record<string, Writer>> = {
  pfifo: { limit: number },
  bfifo: { limit: number },
  pfifo_fast: { bands: ignored, priomap: ignored, multiqueue: ignored },
  mq: {},
  noqueue: {},
  clsact: {},
  ingress: {},
  fq: {
    limit: number,
    flow_limit: number,
    buckets: number,
    orphan_mask: number,
    quantum: number,
    initial_quantum: number,
    low_rate_threshold: byteRate,
    maxrate: byteRate,
    defrate: byteRate,
    refill_delay: micros,
    timer_slack: nanos,
    ce_threshold: micros,
    horizon: micros,
    horizon_cap: flag,
    horizon_drop: flag,
    pacing: onOff('pacing', 'nopacing'),
  },
  fq_codel: {
    limit: number,
    flows: number,
    quantum: number,
    target: codelMicros,
    interval: codelMicros,
    ce_threshold: codelMicros,
    memory_limit: number,
    drop_batch: number,
    ecn: onOff('ecn', 'noecn'),
  },
  codel: {
    limit: number,
    target: codelMicros,
    interval: codelMicros,
    ce_threshold: codelMicros,
    ecn: onOff('ecn', 'noecn'),
  },
  // burst and lat go together, see below
  tbf: { rate: byteRate, burst: ignored, mpu: ignored, lat: ignored, linklayer: text, overhead: number },
  sfq: {
    limit: number,
    quantum: number,
    depth: number,
    divisor: number,
    flows: ignored,
    perturb: number,
    headdrop: flag,
  },
  prio: { bands: number, priomap, multiqueue: ignored },
  ets: { bands: number, strict: number, quanta: numbers, priomap },
  drr: {},
  qfq: {},
  hfsc: { default: text },
  blackhole: {},
  multiq: { bands: ignored, max_bands: ignored },
  skbprio: { limit: number },
  pie: { limit: number, ...PIE },
  fq_pie: {
    limit: number,
    flows: number,
    quantum: number,
    memory_limit: number,
    ecn_prob: number,
    ...PIE,
  },
  hhf: {
    limit: number,
    quantum: number,
    hh_limit: number,
    reset_timeout: micros,
    admit_bytes: number,
    evict_timeout: micros,
    non_hh_weight: number,
  },
  cbs: { hicredit: number, locredit: number, sendslope: number, idleslope: number, offload: number },
  cake: {
    // first, as it takes back what an overhead says
    raw: (_name, value) => (value === true ? ['raw'] : []),
    bandwidth: (_name, value) => (value === 'unlimited' ? ['unlimited'] : byteRate('bandwidth', value)),
    autorate: word,
    diffserv: word,
    flowmode: word,
    nat: onOff('nat', 'nonat'),
    wash: onOff('wash', 'nowash'),
    ingress: onOff('ingress', 'egress'),
    'ack-filter': (_name, value) => ACK_FILTERS[String(value)],
    split_gso: onOff('split-gso', 'no-split-gso'),
    rtt: micros,
    atm: word,
    overhead: number,
    mpu: number,
    memlimit: number,
    fwmark: text,
  },
  htb: {
    r2q: number,
    default: text,
    direct_packets_stat: ignored,
    ver: ignored,
    direct_qlen: number,
    offload: flag,
  },
  netem: {
    limit: number,
    delay: netemGroup('delay', [
      ['delay', seconds],
      ['jitter', seconds],
      ['correlation', percent],
    ]),
    'loss-random': netemGroup('loss', withCorrelation('loss')),
    duplicate: netemGroup('duplicate', withCorrelation('duplicate')),
    reorder: netemGroup('reorder', withCorrelation('reorder')),
    corrupt: netemGroup('corrupt', withCorrelation('corrupt')),
    rate: netemGroup('rate', [
      ['rate', (value) => `${value}bps`],
      ['packetoverhead', String],
      ['cellsize', String],
      ['celloverhead', String],
    ]),
    'loss-state': netemGroup('loss state', shares('p13', 'p31', 'p32', 'p23', 'p14')),
    'loss-gemodel': netemGroup('loss gemodel', shares('p', 'r', '1-h', '1-k')),
    slot: netemGroup('slot', [
      ['min-delay', seconds],
      ['max-delay', seconds],
      ['packets', (value) => `packets ${value}`],
      ['bytes', (value) => `bytes ${value}`],
    ]),
    ecn: onOff('ecn', ''),
    gap: number,
    seed: number,
  },
};

/** Options that are printed only when they are on, although on is the default. */
const SILENT_WHEN_OFF: Record<string, Record<string, string>> = { fq_codel: { ecn: 'noecn' } };

/** Arguments for one qdisc's options, or the option that is not understood. */
function argumentsOf(
  kind: string,
  options: unknown,
  rounding: Rounding,
): { args: string[] } | { problem: string } {
  const writers = KINDS[kind];
  if (writers === undefined) return { problem: `kind ${kind}` };
  const args: string[] = [];
  for (const [name, value] of Object.entries(isObject(options) ? options : {})) {
    const written = writers[name]?.(name, value);
    if (written === undefined) return { problem: `${name}=${JSON.stringify(value)}` };
    args.push(...written.filter((word) => word !== ''));
  }
  if (kind === 'tbf') {
    const { rate, burst, lat } = isObject(options) ? options : {};
    const known = typeof rate === 'number' && typeof burst === 'string' && typeof lat === 'number';
    const written = known ? tbfArguments(rate, burst, lat, rounding) : undefined;
    if (written === undefined) return { problem: 'burst or latency' };
    args.push(...written);
  }
  for (const [name, off] of Object.entries(SILENT_WHEN_OFF[kind] ?? {})) {
    if (!isObject(options) || options[name] === undefined) args.push(off);
  }
  return { args };
}

const STAB = ['linklayer', 'overhead', 'mpu', 'mtu', 'tsize'];

/** Words that stand before the kind; undefined when one is not understood. */
function wordsBefore(qdisc: z.infer<typeof QdiscJson>): string[] | undefined {
  const { ingress_block: ingress, egress_block: egress, stab } = qdisc;
  const words: string[] = [];
  if (ingress !== undefined) words.push('ingress_block', String(ingress));
  if (egress !== undefined) words.push('egress_block', String(egress));
  if (stab === undefined) return words;
  if (!isObject(stab)) return undefined;
  words.push('stab');
  for (const [name, value] of Object.entries(stab)) {
    if (!STAB.includes(name) || (typeof value !== 'number' && typeof value !== 'string')) return undefined;
    words.push(name, String(value));
  }
  return words;
}

function hasJitter(options: unknown): boolean {
  const delay = isObject(options) ? options.delay : undefined;
  return isObject(delay) && typeof delay.jitter === 'number' && delay.jitter > 0;
}

/**
 * One qdisc, where somebody configured it: the kernel's own have the handle `0:`. `args` is what
 * `tc qdisc replace … KIND` takes. What is not understood is reported whole. For clsact and ingress the parent is
 * the number `ffff:fff1`, which tc takes too.
 */
export function qdiscOf(
  object: Record<string, unknown>,
  carrying: string,
  lower: string | undefined,
  report: Report,
  rounding: Rounding = 'down',
): Qdisc | undefined {
  const parsed = QdiscJson.safeParse(object);
  if (!parsed.success) {
    report('qdisc', JSON.stringify(object));
    return undefined;
  }
  const { kind, handle, dev, root, parent, options } = parsed.data;
  if (handle === '0:' || (dev !== carrying && dev !== lower)) return undefined;
  const written = argumentsOf(kind, options, rounding);
  const odd = Object.keys(object).find((key) => !QDISC_KEYS.has(key));
  if (dev !== carrying || 'problem' in written || odd !== undefined || (!root && parent === undefined)) {
    report('qdisc', JSON.stringify(object));
    return undefined;
  }
  if (hasJitter(options)) {
    report('qdisc', `netem ${handle} on ${dev}: the kernel does not show which distribution its jitter has`);
  }
  const before = wordsBefore(parsed.data);
  if (before === undefined) {
    report('qdisc', JSON.stringify(object));
    return undefined;
  }
  return {
    kind,
    handle,
    parent: root ? 'root' : (parent ?? ''),
    args: written.args,
    ...(before.length === 0 ? {} : { before }),
  };
}
