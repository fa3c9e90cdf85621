/** Numbers with their units, for people: the CLI, the report and the dashboard use the same words. Pure. */

/** Stands for a number that is not one (NaN, infinite). */
const NO_NUMBER = '–';

const BINARY_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;

/** Fixed decimals without trailing zeros: `4.0` is `4`, `4.20` is `4.2`. */
function trimmed(value: number, decimals: number): string {
  const text = value.toFixed(decimals);
  return decimals === 0 ? text : text.replace(/\.?0+$/, '');
}

/** Three significant digits for a value below 1024. */
function significant(value: number): string {
  if (value < 9.995) return trimmed(value, 2);
  if (value < 99.95) return trimmed(value, 1);
  return value.toFixed(0);
}

/** `bytes` in binary units with about three digits: `512 B`, `1.5 KiB`, `256 MiB`. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return NO_NUMBER;
  if (bytes < 0) return `-${formatBytes(-bytes)}`;
  let value = bytes;
  let unit = 0;
  // 1023.5 would print as 1024 of this unit, so it is 1 of the next one.
  while (value >= 1023.5 && unit < BINARY_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? trimmed(value, 0) : significant(value)} ${BINARY_UNITS[unit]}`;
}

/** `bytesPerSecond` in binary units: `12.3 MiB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return Number.isFinite(bytesPerSecond) ? `${formatBytes(bytesPerSecond)}/s` : NO_NUMBER;
}

/** A duration or a moment in milliseconds: `0.4 ms`, `96 ms`, `1.9 s`, `2 min 5 s`, `1 h 2 min`. */
export function formatMs(ms: number): string {
  if (!Number.isFinite(ms)) return NO_NUMBER;
  if (ms < 0) return `-${formatMs(-ms)}`;
  if (ms > 0 && ms < 0.05) return '<0.1 ms';
  if (ms < 9.95) return `${trimmed(ms, 1)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Like formatMs, but to the millisecond below a minute: `1.503 s`. For tables in which times are compared. */
export function formatMsExact(ms: number): string {
  const size = Math.abs(ms);
  return size >= 999.5 && size < 59_999.5 ? `${(ms / 1000).toFixed(3)} s` : formatMs(ms);
}
