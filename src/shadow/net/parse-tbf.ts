/** The numbers of a tbf qdisc: a burst, and a latency that tc keeps as a limit in bytes. Pure. */
import { burstBytes, burstMicros, type Rounding, readBurst } from './tc-burst.ts';

/**
 * Arguments `burst … limit …` that make tc print the same burst and latency again.
 * @param rate bytes a second
 * @param burst as tc prints it, `1499b/1`
 * @param latency microseconds
 * @returns nothing when the burst is in no known form.
 */
export function tbfArguments(
  rate: number,
  burst: string,
  latency: number,
  rounding: Rounding = 'down',
): string[] | undefined {
  const read = readBurst(burst);
  if (read === undefined || rate <= 0) return undefined;
  const { cell, exact } = read;
  const bytes = exact ? burstBytes(read.bytes, rate, 'kernel', rounding) : read.bytes;
  const micros = burstMicros(bytes, rate, 'kernel', rounding);
  const about = Math.floor(((latency + micros) * rate) / 1e6);
  const prints = (limit: number) => Math.floor((1e6 * limit) / rate - micros);
  const limit = [about, about + 1].find((candidate) => prints(candidate) >= latency) ?? about;
  return ['burst', `${bytes}${cell}`, 'limit', String(limit)];
}
