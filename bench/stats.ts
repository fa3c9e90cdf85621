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
