/** Queues, interrupts and NAPI of the direct device, as sysfs and /proc/irq show them. Pure. */
import type { Report } from './capture-text.ts';
import type { Setting } from './model.ts';
import { factOf, type Sysfs } from './parse-sysfs.ts';
import { maskBits, type QueueLayout, type VectorRole } from './queue-model.ts';

/** Knobs of each queue, with the value that the kernel gives to every one: only another is a setting. */
const KNOBS: Readonly<Record<'rx' | 'tx', Readonly<Record<string, string>>>> = {
  rx: { rps_cpus: '0', rps_flow_cnt: '0' },
  tx: {
    xps_cpus: '0',
    xps_rxqs: '0',
    tx_maxrate: '0',
    'byte_queue_limits/limit_max': '1879048192',
    'byte_queue_limits/limit_min': '0',
    'byte_queue_limits/hold_time': '1000',
  },
};

/** Knobs of all queues together. */
const NAPI: Readonly<Record<string, string>> = {
  threaded: '0',
  gro_flush_timeout: '0',
  napi_defer_hard_irqs: '0',
};

/** Masks have leading zeros and commas, by how many processors the kernel could have. */
const isZero = (value: string): boolean => /^[0,]*$/.test(value);

/** `00000000,00000003` is `3`: the same on a kernel for more processors. */
const plainMask = (value: string): string => maskBits(value).toString(16);

const isMask = (knob: string): boolean => /_(cpus|rxqs)$/.test(knob);

function countOf(facts: ReadonlyMap<string, string[]>, direction: 'rx' | 'tx'): number {
  const numbers = [...facts.keys()].flatMap((key) => {
    const number = new RegExp(`^queues/${direction}-(\\d+)/`).exec(key)?.[1];
    return number === undefined ? [] : [Number(number)];
  });
  return numbers.length === 0 ? 0 : Math.max(...numbers) + 1;
}

function roleOf(action: string, name: string): VectorRole {
  // the interface's own name may hold anything
  const own = action.startsWith(name) ? action.slice(name.length) : action;
  if (/tx-?rx|rx-?tx|combined|comp|queue/i.test(own)) return 'both';
  if (/rx|input/i.test(own)) return 'rx';
  if (/tx|output/i.test(own)) return 'tx';
  return 'other';
}

interface Vectors {
  names: string[];
  /** By the vector's name. */
  masks: Map<string, string>;
}

/** Vectors in the order of their numbers, which is that of the queues, numbered within their role. */
function vectorsOf(facts: ReadonlyMap<string, string[]>, name: string): Vectors {
  const numbers = [...facts.keys()].flatMap((key) => /^irq\/(\d+)\/smp_affinity$/.exec(key)?.[1] ?? []);
  const found: Vectors = { names: [], masks: new Map() };
  const counts = new Map<VectorRole, number>();
  for (const number of numbers.toSorted((a, b) => Number(a) - Number(b))) {
    const actions = facts.get(`irq/${number}/action`) ?? [];
    if (actions.length === 0) continue; // nobody listens: the device is down
    const role = numbers.length === 1 ? 'all' : roleOf(actions[0] ?? '', name);
    const at = counts.get(role) ?? 0;
    counts.set(role, at + 1);
    const vector = `${role}-${at}`;
    found.names.push(vector);
    found.masks.set(vector, plainMask(facts.get(`irq/${number}/smp_affinity`)?.[0] ?? '0'));
  }
  return found;
}

/** How many queues and vectors the device has, and what is set on them: all that differs from the kernel's own default. */
export function queuesOf(
  sysfs: Sysfs,
  name: string,
  report: Report,
): { layout: QueueLayout; settings: Setting[] } {
  const facts = sysfs.get(name) ?? new Map<string, string[]>();
  const counts = { rx: countOf(facts, 'rx'), tx: countOf(facts, 'tx') };
  const settings: Setting[] = [];
  for (const direction of ['rx', 'tx'] as const) {
    for (let queue = 0; queue < counts[direction]; queue++) {
      for (const [knob, untouched] of Object.entries(KNOBS[direction])) {
        const value = facts.get(`queues/${direction}-${queue}/${knob}`)?.[0];
        if (value === undefined || value === untouched || (isMask(knob) && isZero(value))) continue;
        const key = knob.replace('byte_queue_limits/', 'bql_');
        settings.push({
          name: `queue.${direction}-${queue}.${key}`,
          value: isMask(knob) ? plainMask(value) : value,
        });
      }
    }
  }
  for (const [knob, untouched] of Object.entries(NAPI)) {
    const value = factOf(sysfs, name, knob);
    if (value !== undefined && value !== untouched) settings.push({ name: `napi.${knob}`, value });
  }
  const vectors = vectorsOf(facts, name);
  const allCpus = facts.get('irq/default')?.[0];
  const balancer = facts.get('irq/balancer')?.[0];
  if (balancer !== undefined) {
    report(
      'irq',
      `${balancer} moves the interrupts of ${name} by itself: where they are now is not captured`,
    );
  } else {
    for (const [vector, mask] of vectors.masks) {
      if (allCpus === undefined || mask !== plainMask(allCpus))
        settings.push({ name: `irq.${vector}`, value: mask });
    }
  }
  return {
    layout: {
      ...counts,
      vectors: vectors.names,
      ...(allCpus === undefined ? {} : { allCpus: plainMask(allCpus) }),
    },
    settings,
  };
}
