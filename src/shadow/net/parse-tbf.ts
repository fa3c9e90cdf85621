/**
 * The numbers of a tbf qdisc. tc keeps the burst as a time and the latency as a limit in bytes, and prints both
 * rounded down: giving it back what it printed loses a byte with every migration. Pure.
 */

/** The kernel's packet scheduler counts in units of 64 ns. */
const TICKS_PER_MICRO = 15.625;

/** The whole microseconds that tc keeps of a burst of so many bytes at so many bytes a second. */
function burstMicros(bytes: number, rate: number): number {
  const ticks = Math.floor((TICKS_PER_MICRO * 1e6 * bytes) / rate);
  return Math.floor(ticks / TICKS_PER_MICRO);
}

/** What tc prints of a burst of so many bytes. */
function printedBurst(bytes: number, rate: number): number {
  return Math.floor((rate * burstMicros(bytes, rate)) / 1e6);
}

/** The bytes that make tc print `printed`. At high rates many do; the middle of them is safe from rounding. */
function burstBytes(printed: number, rate: number): number {
  const micros = Math.ceil((1e6 * printed) / rate);
  const middle = Math.ceil((rate * (micros + 0.5)) / 1e6);
  return [printed, printed + 1, middle].find((bytes) => printedBurst(bytes, rate) === printed) ?? printed;
}

/** Bytes of `1499b/1` or `32Kb/1`, and what follows the slash (the cell). */
function readBurst(text: string): { bytes: number; cell: string; exact: boolean } | undefined {
  const [, digits, unit = 'b', cell = ''] = /^(\d+)(b|Kb|Mb)(\/\d+)?$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const factor = unit === 'Mb' ? 1024 * 1024 : unit === 'Kb' ? 1024 : 1;
  return { bytes: Number(digits) * factor, cell, exact: unit === 'b' };
}

/**
 * Arguments `burst … limit …` that make tc print the same burst and latency again.
 * @param rate bytes a second
 * @param burst as tc prints it, `1499b/1`
 * @param latency microseconds
 * @returns nothing when the burst is in no known form.
 */
export function tbfArguments(rate: number, burst: string, latency: number): string[] | undefined {
  const read = readBurst(burst);
  if (read === undefined || rate <= 0) return undefined;
  const { cell, exact } = read;
  const bytes = exact ? burstBytes(read.bytes, rate) : read.bytes;
  const micros = burstMicros(bytes, rate);
  const about = Math.floor(((latency + micros) * rate) / 1e6);
  const prints = (limit: number) => Math.floor((1e6 * limit) / rate) - micros;
  const limit = [about, about + 1].find((candidate) => prints(candidate) >= latency) ?? about;
  return ['burst', `${bytes}${cell}`, 'limit', String(limit)];
}
