/** What the crash matrix says in the end: a line a case, a table with the reasons, and one for programs. Pure. */
import { formatMs } from '../../base/units.ts';
import type { FaultCase } from './cases.ts';
import { FAULTS } from './cases.ts';

export interface CaseResult {
  case: FaultCase;
  survived: boolean;
  /** What the VM came to. */
  fate: 'lives' | 'ended';
  /** How the migration ended by its journal. */
  ending: string | null;
  /** Why the VM was allowed to end. */
  exception: string | undefined;
  problems: readonly string[];
  ms: number;
}

export function caseLine({
  case: { id },
  survived,
  fate,
  ending,
  exception,
  problems,
  ms,
}: CaseResult): string {
  const mark = survived ? '✓' : '✗';
  const end = `${ending ?? 'open'}${fate === 'ended' ? `, the VM ended: ${exception ?? 'without a reason'}` : ''}`;
  const lost = problems.map((problem) => `\n    ${problem}`).join('');
  return `${mark} ${id}  ${end}  ${formatMs(ms)}${lost}`;
}

export interface Sums {
  total: number;
  survived: number;
  lost: number;
}

export function sumsOf(results: readonly CaseResult[]): Sums {
  const survived = results.filter((each) => each.survived).length;
  return { total: results.length, survived, lost: results.length - survived };
}

/** `faults N, survived N, lost 0`. */
export function sumLine(results: readonly CaseResult[]): string {
  const { total, survived, lost } = sumsOf(results);
  return `faults ${total}, survived ${survived}, lost ${lost}`;
}

/** By fault: how many survived, and how their migrations ended. */
export function table(results: readonly CaseResult[]): string[] {
  const faults = [...new Set(results.map((each) => each.case.fault))];
  const width = Math.max(0, ...faults.map((fault) => fault.length));
  return faults.map((fault) => {
    const its = results.filter((each) => each.case.fault === fault);
    const endings = Map.groupBy(its, ({ ending, fate }) =>
      fate === 'ended' ? 'VM ended' : (ending ?? 'open'),
    );
    const told = [...endings].map(([ending, each]) => `${each.length} ${ending}`).join(', ');
    const { survived, total } = sumsOf(its);
    return `${fault.padEnd(width)}  ${survived}/${total}  ${told}  (${FAULTS[fault]})`;
  });
}

/** The last line for programs. */
export function jsonLine(results: readonly CaseResult[]): string {
  const cases = results.map(({ case: { id, phase, fault, way }, ...rest }) => ({
    ...{ id, phase, fault, way },
    ...rest,
    exception: rest.exception ?? null,
  }));
  return JSON.stringify({ type: 'faults', ...sumsOf(results), cases });
}
