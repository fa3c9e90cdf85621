import type { TestEvent } from 'node:test/reporters';

/** The counts of one run of node's test runner. */
export interface Totals {
  tests: number;
  passed: number;
  failed: number;
  skipped: number;
  cancelled: number;
  todo: number;
}

/** A reporter for node's test runner that writes nothing but the run's totals, as one JSON line. */
export default async function* totalsReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    // The runner also sums up each file; the sum of the whole run names none.
    if (event.type !== 'test:summary' || event.data.file !== undefined) continue;
    const { tests, passed, skipped, cancelled, todo } = event.data.counts;
    const failed = tests - passed - skipped - cancelled - todo;
    yield `${JSON.stringify({ tests, passed, failed, skipped, cancelled, todo } satisfies Totals)}\n`;
  }
}
