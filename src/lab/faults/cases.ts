/** The crash matrix: every phase, and what may break in it. Pure. */
import { PHASES } from '../../base/phases.ts';

export type Phase = (typeof PHASES)[number];

/** What breaks, and what is said of it in tables. */
export const FAULTS = {
  'kill-source-daemon': 'the daemon of the source is killed, and started again',
  'kill-destination-daemon': 'the daemon of the destination is killed, and started again',
  'kill-both-daemons': 'both daemons are killed, and started again',
  'kill-source-qemu': 'QEMU of the source is killed',
  'kill-destination-qemu': 'QEMU of the destination is killed',
  'link-2s': 'the link between the hosts is cut for 2 s',
  'link-cut': 'the link between the hosts is cut until the migration has ended, or waits',
  'etcd-leader': 'the leader of etcd is killed',
  'etcd-source': 'the source cannot reach etcd',
  'etcd-destination': 'the destination cannot reach etcd',
  'etcd-both': 'nobody can reach etcd',
  'agent-silent': 'the agent of the guest is silent',
  'disk-source': 'the disk of the journal is full on the source',
  'disk-destination': 'the disk of the journal is full on the destination',
  'device-add-once': 'QEMU of the destination refuses the device once',
  'device-add-always': 'QEMU of the destination refuses the device every time',
  'qmp-delay-source': 'the monitor on the source delays each answer',
  'qmp-delay-destination': 'the monitor on the destination delays each answer',
  'qmp-repeat': 'the monitors say each answer and each event twice',
  'qmp-reorder': 'the monitors let later answers and events overtake earlier ones',
} as const;
export type Fault = keyof typeof FAULTS;
export const ALL_FAULTS = Object.keys(FAULTS).filter((name): name is Fault => name in FAULTS);

export type Way = 'postcopy' | 'precopy';

export interface FaultCase {
  /** `copy/link-cut`, `copy/link-cut/precopy`. */
  id: string;
  phase: Phase;
  fault: Fault;
  /** How memory moves. */
  way: Way;
  /** In the short form, too. */
  short: boolean;
}

/** Why a fault has no meaning in a phase. */
export function meaningless(phase: Phase, fault: Fault): string | undefined {
  if (phase === 'preflight' && fault === 'kill-destination-qemu') return 'there is none yet';
  if (phase === 'settle' && (fault === 'device-add-once' || fault === 'device-add-always'))
    return 'the device is there already';
  return undefined;
}

/** In the short form: what parts the hosts in every phase, and every fault once, where memory moves. */
const SHORT_EVERYWHERE: readonly Fault[] = ['kill-source-daemon', 'kill-destination-daemon', 'link-2s'];
/** Where a fault is tried in the short form, if not in `copy`. */
const SHORT_AT: Partial<Record<Fault, Phase>> = {
  'device-add-once': 'attach',
  'device-add-always': 'attach',
  'etcd-leader': 'switchover',
};

/** Where the two ways of memory differ: there each fault is tried with both. */
const BOTH_WAYS: readonly Phase[] = ['copy', 'switchover'];

function isShort(phase: Phase, fault: Fault, way: Way): boolean {
  if (way === 'precopy') return false;
  return SHORT_EVERYWHERE.includes(fault) || (SHORT_AT[fault] ?? 'copy') === phase;
}

/**
 * The whole matrix, in the order of the phases.
 * @param precopy whether QEMU moves memory by pre-copy without losing any
 */
export function allCases({ precopy }: { precopy: boolean }): FaultCase[] {
  return PHASES.flatMap((phase) => {
    const ways: readonly Way[] =
      precopy && BOTH_WAYS.includes(phase) ? ['postcopy', 'precopy'] : ['postcopy'];
    return ways.flatMap((way) =>
      ALL_FAULTS.filter((fault) => meaningless(phase, fault) === undefined).map((fault) => ({
        id: `${phase}/${fault}${way === 'precopy' ? '/precopy' : ''}`,
        ...{ phase, fault, way, short: isShort(phase, fault, way) },
      })),
    );
  });
}

/** The cases whose id has one of some texts in it; all where there is none. */
export function chosen(cases: readonly FaultCase[], filters: readonly string[]): FaultCase[] {
  return cases.filter(({ id }) => filters.length === 0 || filters.some((text) => id.includes(text)));
}
