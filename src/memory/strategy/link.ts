/** How fast the link is: an average in which what is long ago fades. Pure. */
import type { CopySample } from '../version/sample.ts';

export interface LinkEstimate {
  /** Bytes per second; undefined until something was measured. */
  readonly bps: number | undefined;
  readonly atMs: number;
  readonly transferred: number;
  readonly remaining: number;
  /** When a byte was last seen to be sent. */
  readonly progressedAtMs: number;
  /** Times that nothing was sent for longer than `dropMs`. */
  readonly drops: number;
}

export const NO_LINK: LinkEstimate = {
  bps: undefined,
  atMs: 0,
  transferred: 0,
  remaining: 0,
  progressedAtMs: 0,
  drops: 0,
};

/** Shorter than this says more of QEMU's buffers than of the link. */
const SHORTEST_MS = 50;
/** A page of zeros costs nine bytes. Where memory is dealt with so much faster than bytes go out, the link is not the limit. */
const LINK_SHARE = 0.5;

export interface LinkOptions {
  /** Milliseconds after which a measurement counts half. */
  rateHalfLifeMs: number;
  /** Without a byte for so long, the link was down for a while, ms. */
  dropMs: number;
}

/** The estimate after one more sample. */
export function advanceLink(link: LinkEstimate, sample: CopySample, options: LinkOptions): LinkEstimate {
  const { atMs, transferred, remaining } = sample;
  const elapsed = atMs - link.atMs;
  const sent = transferred - link.transferred;
  if (sent <= 0) return link; // no news: the average stands
  if (elapsed < SHORTEST_MS) return { ...link, progressedAtMs: atMs };
  const drops = link.drops + (atMs - link.progressedAtMs > options.dropMs ? 1 : 0);
  const seen = { atMs, transferred, remaining, progressedAtMs: atMs, drops };
  if (sent < LINK_SHARE * (link.remaining - remaining)) return { ...seen, bps: link.bps };
  const now = (sent * 1000) / elapsed;
  // by time and not by sample, as samples come late when the machine is busy
  const weight = 1 - 0.5 ** (elapsed / options.rateHalfLifeMs);
  return { ...seen, bps: link.bps === undefined ? now : link.bps + weight * (now - link.bps) };
}
