/** Now, in milliseconds since the epoch, with fractions and never going backwards within a process. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
