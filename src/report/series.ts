/** The figures behind the pictures: rates, windows of time, what the steps account for. Pure. */
import type { Gap, MigrationReport, PhaseName, Step, ThroughputSample } from './model.ts';

/** Shorter windows cannot be drawn: a scale over them loses its numbers. */
const SHORTEST_MS = 0.001;

/** Milliseconds relative to the start of the migration, `startMs < endMs`. */
export interface Window {
  startMs: number;
  endMs: number;
}

/** Constant traffic in bytes per second between two samples. */
export interface Rate {
  fromMs: number;
  toMs: number;
  inBps: number;
  outBps: number;
  echoes: number;
}

/**
 * Rates between samples, in order of time. The first sample's counts cover as long a stretch as the second's;
 * samples of one moment count as one. Fewer than two moments give no rate.
 */
export function rates(samples: readonly ThroughputSample[]): Rate[] {
  const sorted = samples.toSorted((a, b) => a.atMs - b.atMs);
  const first = sorted[0];
  const second = sorted.find((sample) => first && sample.atMs > first.atMs);
  if (!first || !second) return [];
  const result: Rate[] = [];
  let fromMs = first.atMs - (second.atMs - first.atMs);
  let bytesIn = 0;
  let bytesOut = 0;
  let echoes = 0;
  for (const [index, sample] of sorted.entries()) {
    bytesIn += sample.bytesIn;
    bytesOut += sample.bytesOut;
    echoes += sample.echoes;
    if (sorted[index + 1]?.atMs === sample.atMs) continue;
    const perSecond = 1000 / (sample.atMs - fromMs);
    result.push({
      fromMs,
      toMs: sample.atMs,
      inBps: bytesIn * perSecond,
      outBps: bytesOut * perSecond,
      echoes,
    });
    fromMs = sample.atMs;
    bytesIn = 0;
    bytesOut = 0;
    echoes = 0;
  }
  return result;
}

/** Neighbouring rates averaged so that about `most` remain; bytes are kept. */
export function binned(series: readonly Rate[], most: number): Rate[] {
  const first = series[0];
  const last = series.at(-1);
  if (!first || !last || series.length <= most) return [...series];
  const shortest = (last.toMs - first.fromMs) / most;
  const result: Rate[] = [];
  let open: Rate | undefined;
  for (const rate of series) {
    if (open) {
      const before = open.toMs - open.fromMs;
      const added = rate.toMs - rate.fromMs;
      const mean = (a: number, b: number) => (a * before + b * added) / (before + added);
      open = {
        fromMs: open.fromMs,
        toMs: rate.toMs,
        inBps: mean(open.inBps, rate.inBps),
        outBps: mean(open.outBps, rate.outBps),
        echoes: open.echoes + rate.echoes,
      };
    } else open = rate;
    if (open.toMs - open.fromMs < shortest * 0.999) continue;
    result.push(open);
    open = undefined;
  }
  if (open) result.push(open);
  return result;
}

/** The longest gap, the earliest of equals; undefined when there is none. */
export function longestGap(gaps: readonly Gap[]): Gap | undefined {
  return gaps.reduce<Gap | undefined>((best, gap) => (best && best.ms >= gap.ms ? best : gap), undefined);
}

/** Where the vCPUs stood still; undefined when it did not happen or its place is not known. */
export function blackoutSpan(report: MigrationReport): Window | undefined {
  if (report.blackoutMs <= 0) return undefined;
  const runs = report.marks.find((mark) => mark.name === 'destination runs');
  const startMs = report.blackoutStartMs ?? (runs ? runs.atMs - report.blackoutMs : undefined);
  return startMs === undefined ? undefined : { startMs, endMs: startMs + report.blackoutMs };
}

function phaseWindow(report: MigrationReport, name: PhaseName): Window | undefined {
  const spans = report.phases.filter((phase) => phase.name === name);
  if (spans.length === 0) return undefined;
  return {
    startMs: Math.min(...spans.map((span) => span.startMs)),
    endMs: Math.max(...spans.map((span) => span.startMs + span.durationMs)),
  };
}

/** Largest of many numbers: spreading a long array into Math.max overflows the stack. */
function maxOf(values: Iterable<number>, start: number): number {
  let result = start;
  for (const value of values) result = Math.max(result, value);
  return result;
}

/** The whole migration with a little of the traffic before and after it. Never empty. */
export function wholeWindow(report: MigrationReport): Window {
  const gapEnds = [longestGap(report.gaps.tcp), longestGap(report.gaps.icmp)].map((gap) =>
    gap ? gap.startMs + gap.ms : 0,
  );
  const end = maxOf(
    [
      ...report.phases.map((phase) => phase.startMs + phase.durationMs),
      ...report.marks.map((mark) => mark.atMs),
      ...gapEnds,
    ],
    report.totalMs,
  );
  const margin = Math.max(50, end * 0.1);
  const times = report.throughput.map((sample) => sample.atMs);
  const firstTraffic = -maxOf(
    times.map((time) => -time),
    0,
  );
  const lastTraffic = maxOf(times, end);
  const startMs = Math.max(-margin, firstTraffic);
  const endMs = Math.min(end + margin, lastTraffic);
  return { startMs, endMs: endMs - startMs >= SHORTEST_MS ? endMs : startMs + 1 };
}

/** From the detach to the end of the attach (or of what was reached); undefined when nothing was detached. */
export function criticalWindow(report: MigrationReport): Window | undefined {
  const detach = phaseWindow(report, 'detach');
  if (!detach) return undefined;
  let endMs = detach.endMs;
  for (const name of ['copy', 'switchover', 'attach'] as const) {
    endMs = Math.max(endMs, phaseWindow(report, name)?.endMs ?? endMs);
  }
  return endMs - detach.startMs >= SHORTEST_MS ? { startMs: detach.startMs, endMs } : undefined;
}

/** Below this share of the whole, the critical part needs a picture of its own. */
const SMALL_SHARE = 0.3;

/** The critical window with margins, when the whole picture would show it too small; else undefined. */
export function focusWindow(report: MigrationReport): Window | undefined {
  const critical = criticalWindow(report);
  if (!critical) return undefined;
  const whole = wholeWindow(report);
  const span = critical.endMs - critical.startMs;
  if (span > (whole.endMs - whole.startMs) * SMALL_SHARE) return undefined;
  return {
    startMs: Math.max(whole.startMs, critical.startMs - span * 0.08),
    endMs: Math.min(whole.endMs, critical.endMs + span * 0.08),
  };
}

/** Milliseconds of `window` in which at least one of the steps runs. */
export function covered(steps: readonly Step[], window: Window): number {
  const spans = steps
    .map((step) => ({
      from: Math.max(step.startMs, window.startMs),
      to: Math.min(step.startMs + step.durationMs, window.endMs),
    }))
    .filter((span) => span.to > span.from)
    .sort((a, b) => a.from - b.from);
  let total = 0;
  let reached = window.startMs;
  for (const span of spans) {
    if (span.to <= reached) continue;
    total += span.to - Math.max(span.from, reached);
    reached = span.to;
  }
  return total;
}
