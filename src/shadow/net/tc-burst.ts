/**
 * Bursts of token buckets. `tc` takes them in bytes, counts them in time, and prints bytes again, rounded: given back
 * what it printed, it loses some with every migration. Pure.
 */

/** How a release of iproute2 rounds: `down` to microseconds (before 6.15), or `exact`, to the kernel's ticks. */
export type Rounding = 'down' | 'exact';

/** The kernel's packet scheduler counts in units of 64 ns. */
const TICKS_PER_MICRO = 15.625;

/** Who turns bytes into ticks: the kernel, for tbf, or tc, for classes and policers. */
type Counter = 'kernel' | 'tc';

function ticksOf(bytes: number, rate: number, counter: Counter, rounding: Rounding): number {
  const micros = (1e6 * bytes) / rate;
  if (counter === 'kernel') return Math.floor(TICKS_PER_MICRO * micros);
  if (rounding === 'down') return Math.floor(TICKS_PER_MICRO * Math.floor(micros));
  return Math.ceil(TICKS_PER_MICRO * micros);
}

/** Microseconds that tc has for a burst of so many bytes at so many bytes a second. */
export function burstMicros(bytes: number, rate: number, counter: Counter, rounding: Rounding): number {
  const micros = ticksOf(bytes, rate, counter, rounding) / TICKS_PER_MICRO;
  return rounding === 'down' ? Math.floor(micros) : micros;
}

/** What tc prints of a burst of so many bytes. */
export function printedBurst(bytes: number, rate: number, counter: Counter, rounding: Rounding): number {
  return Math.floor((rate * burstMicros(bytes, rate, counter, rounding)) / 1e6);
}

/** The bytes that make tc print `printed`. At high rates many do; the middle of them is safe from rounding. */
export function burstBytes(printed: number, rate: number, counter: Counter, rounding: Rounding): number {
  const micros = Math.ceil((1e6 * printed) / rate);
  const middle = (more: number) => Math.ceil((rate * (micros + more + 0.5)) / 1e6);
  const candidates = [printed, printed + 1, middle(0), middle(1), middle(-1)];
  return candidates.find((bytes) => printedBurst(bytes, rate, counter, rounding) === printed) ?? printed;
}

/** Bytes of `1499b/1` or `32Kb/1`, and what follows the slash (the cell). */
export function readBurst(text: string): { bytes: number; cell: string; exact: boolean } | undefined {
  const [, digits, unit = 'b', cell = ''] = /^(\d+)(b|Kb|Mb)(\/\d+)?$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const factor = unit === 'Mb' ? 1024 * 1024 : unit === 'Kb' ? 1024 : 1;
  return { bytes: Number(digits) * factor, cell, exact: unit === 'b' };
}

/**
 * The word for the burst of a class or a policer that makes tc print `printed` again, cell and all.
 * @param printed `1599b/1`, `32Kb`
 * @param rate bytes a second
 * @returns nothing when it is in no known form.
 */
export function burstWord(printed: string, rate: number, rounding: Rounding): string | undefined {
  const read = readBurst(printed);
  if (read === undefined || rate <= 0) return undefined;
  return `${read.exact ? burstBytes(read.bytes, rate, 'tc', rounding) : read.bytes}${read.cell}`;
}

/** The rounding of the release that `tc -V` names: `tc utility, iproute2-6.1.0, libbpf 1.1.2`. */
export function roundingOf(version: string): Rounding {
  const [, major, minor] = /iproute2-(\d+)\.(\d+)/.exec(version) ?? [];
  const number = Number(major) * 1000 + Number(minor);
  return Number.isNaN(number) || number < 6015 ? 'down' : 'exact';
}
