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

/** How long one file of tests took, from its start to its end, ms. */
export interface FileTime {
  file: string;
  ms: number;
}

/** What the reporter writes. */
export interface Summary {
  totals: Totals;
  files: FileTime[];
}

/** A reporter for node's test runner that writes nothing but the run's totals and its files' times, as one JSON line. */
export default async function* totalsReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const files: FileTime[] = [];
  for await (const event of source) {
    if (event.type !== 'test:summary') continue;
    const { file, counts, duration_ms: ms } = event.data;
    // The runner sums up each file; the sum of the whole run names none.
    if (file !== undefined) {
      files.push({ file, ms });
      continue;
    }
    const { tests, passed, skipped, cancelled, todo } = counts;
    const failed = tests - passed - skipped - cancelled - todo;
    const totals = { tests, passed, failed, skipped, cancelled, todo };
    yield `${JSON.stringify({ totals, files } satisfies Summary)}\n`;
  }
}
