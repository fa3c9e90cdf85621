/** Axis ticks in the unit that reads best, so that numbers stay short and round. */
import { scaleLinear } from 'd3-scale';

export interface Tick {
  /** In the base unit of the domain (milliseconds, bytes). */
  value: number;
  label: string;
}

interface Unit {
  size: number;
  name: string;
}

const BYTES: Unit[] = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].map((name, power) => ({
  name,
  size: 1024 ** power,
}));

function ticksIn(unit: Unit, from: number, to: number, count: number): Tick[] {
  const scale = scaleLinear().domain([from / unit.size, to / unit.size]);
  const format = scale.tickFormat(count);
  return scale
    .ticks(count)
    .map((tick) => ({ value: tick * unit.size, label: `${format(tick)} ${unit.name}` }));
}

/** Ticks of a time axis in milliseconds: ms, s or min. */
export function timeTicks(fromMs: number, toMs: number, count: number): Tick[] {
  const furthest = Math.max(Math.abs(fromMs), Math.abs(toMs));
  const unit =
    furthest <= 1000
      ? { size: 1, name: 'ms' }
      : furthest <= 600_000
        ? { size: 1000, name: 's' }
        : { size: 60_000, name: 'min' };
  return ticksIn(unit, fromMs, toMs, count);
}

/** Ticks of an axis of bytes from 0 to at least `max`; the last tick is the top of the axis. `suffix` as in `/s`. */
export function byteTicks(max: number, count: number, suffix = ''): Tick[] {
  const most = Math.max(max, 1);
  const unit = BYTES.findLast((candidate) => most >= candidate.size) ?? { size: 1, name: 'B' };
  const [, top = 1] = scaleLinear()
    .domain([0, most / unit.size])
    .nice(count)
    .domain();
  return ticksIn(unit, 0, top * unit.size, count).map((tick) => ({
    value: tick.value,
    label: tick.value === 0 ? '0' : `${tick.label}${suffix}`,
  }));
}
