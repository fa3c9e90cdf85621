/** How a link is slowed down; absent or 0 means not at all. */
export interface LinkShape {
  /** Megabits (10^6 bit) per second, in each direction. */
  rateMbit?: number;
  /** Milliseconds added in each direction; a round trip grows by twice as much. */
  delayMs?: number;
}

/** Who delays packets: the kernel, a process of ours, or nobody. */
export type DelayMeans = 'netem' | 'delay-line' | 'none';

const QUEUE_MS = 50;
const FRAMES_MINIMUM = 16 * 1514;

function bytesIn(ms: number, rateMbit: number): number {
  return Math.round((rateMbit * 1e6 * ms) / 8000);
}

/**
 * The arguments of `tc qdisc replace dev X root …` that give one end of a link `rateMbit` by a token bucket:
 * bursts of 2 ms (so that the timer's grain costs no throughput), a queue of 50 ms.
 */
export function tokenBucket(rateMbit: number): string[] {
  const burst = Math.max(bytesIn(2, rateMbit), FRAMES_MINIMUM);
  const limit = Math.max(bytesIn(QUEUE_MS, rateMbit), 4 * FRAMES_MINIMUM) + burst;
  return ['tbf', 'rate', `${rateMbit}mbit`, 'burst', `${burst}`, 'limit', `${limit}`];
}

/** The same for the kernel's network emulator, which delays as well. */
export function emulator({ rateMbit = 0, delayMs = 0 }: LinkShape): string[] {
  const perSecond = rateMbit > 0 ? (rateMbit * 1e6) / 8 : 10e9 / 8;
  // Its queue, in packets, holds what is on the way as well: count small packets of 500 bytes.
  const packets = Math.max(1000, Math.ceil((perSecond * (delayMs + QUEUE_MS)) / 1000 / 500));
  return [
    'netem',
    'limit',
    `${packets}`,
    ...(delayMs > 0 ? ['delay', `${delayMs}ms`] : []),
    ...(rateMbit > 0 ? ['rate', `${rateMbit}mbit`] : []),
  ];
}

/** Bytes that the delay line may hold in one direction: twice what is on the way, 1 to 64 MiB. */
export function delayQueueBytes({ rateMbit = 0, delayMs = 0 }: LinkShape): number {
  const onTheWay = bytesIn(delayMs, rateMbit > 0 ? rateMbit : 10_000);
  return Math.min(64 << 20, Math.max(1 << 20, 2 * onTheWay));
}

/** The qdisc at the root of one end of a link for `shape`, or undefined when it needs none. */
export function rootQdisc(shape: LinkShape, delay: DelayMeans): string[] | undefined {
  const { rateMbit = 0, delayMs = 0 } = shape;
  if (delay === 'netem' && delayMs > 0) return emulator(shape);
  return rateMbit > 0 ? tokenBucket(rateMbit) : undefined;
}
