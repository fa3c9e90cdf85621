/** What passed in one bucket of time, seen from outside. */
export interface Throughput {
  /** Epoch milliseconds of the bucket's beginning. */
  atMs: number;
  /** Bytes towards the guest that its connection has taken. */
  bytesIn: number;
  /** Bytes from the guest. */
  bytesOut: number;
  /** Records of the echo stream that came back. */
  echoes: number;
}

/**
 * Joins the probes' rows (bucket number, counts) to one series without holes: a bucket in which nothing passed is there
 * with zeros. Pure.
 * @param echoRows bucket number, echoes
 * @param byteRows bucket number, bytes in, bytes out
 */
export function mergeThroughput(
  echoRows: readonly (readonly number[])[],
  byteRows: readonly (readonly number[])[],
  stepMs: number,
): Throughput[] {
  const series: Throughput[] = [];
  let first = Number.POSITIVE_INFINITY;
  let last = Number.NEGATIVE_INFINITY;
  for (const [bucket = 0] of [...echoRows, ...byteRows]) {
    first = Math.min(first, bucket);
    last = Math.max(last, bucket);
  }
  for (let bucket = first; bucket <= last; bucket++) {
    series.push({ atMs: bucket * stepMs, bytesIn: 0, bytesOut: 0, echoes: 0 });
  }
  for (const [bucket = 0, echoes = 0] of echoRows) {
    const point = series[bucket - first];
    if (point) point.echoes += echoes;
  }
  for (const [bucket = 0, bytesIn = 0, bytesOut = 0] of byteRows) {
    const point = series[bucket - first];
    if (!point) continue;
    point.bytesIn += bytesIn;
    point.bytesOut += bytesOut;
  }
  return series;
}
