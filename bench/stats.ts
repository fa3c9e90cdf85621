/** What a bench says of repeated measurements: medians and spread, never means, and no run is left out. Pure. */

/** Five numbers of a series; the quartiles interpolate between neighbours. */
export interface Spread {
  n: number;
  min: number;
  q1: number;
  median: number;
  q3: number;
  max: number;
}

/** The value below which the share `q` (0 to 1) of ascending, non-empty `sorted` lies. */
function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** The spread of a series in any order; null of an empty one. */
export function spread(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  return {
    n: sorted.length,
    min: quantile(sorted, 0),
    q1: quantile(sorted, 0.25),
    median: quantile(sorted, 0.5),
    q3: quantile(sorted, 0.75),
    max: quantile(sorted, 1),
  };
}

/** The median of a series in any order; null of an empty one. */
export function median(values: readonly number[]): number | null {
  return spread(values)?.median ?? null;
}

/**
 * `of` divided by `to`, pair by pair: what was measured in the same round, under the same load of the machine. A pair
 * with a value missing, or a divisor that is not positive, is left out.
 */
export function ratios(of: readonly (number | null)[], to: readonly (number | null)[]): number[] {
  return of.flatMap((value, index) => {
    const divisor = to[index] ?? null;
    return value === null || divisor === null || divisor <= 0 ? [] : [value / divisor];
  });
}

/** Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1. */
const T95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
  2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/**
 * The ratio that pairs have in common, with its 95 % confidence interval: the mean of the logarithms and Student's t,
 * as ratios are as likely to be twice as half. Null of fewer than two.
 */
export function ratioInterval(
  pairs: readonly number[],
): { n: number; ratio: number; low: number; high: number } | null {
  const n = pairs.length;
  if (n < 2) return null;
  const logs = pairs.map(Math.log);
  const mean = logs.reduce((sum, value) => sum + value, 0) / n;
  const variance = logs.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const half = (T95[n - 2] ?? 1.96) * Math.sqrt(variance / n);
  return { n, ratio: Math.exp(mean), low: Math.exp(mean - half), high: Math.exp(mean + half) };
}
