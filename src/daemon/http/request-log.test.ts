import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { RequestLog } from './request-log.ts';

function setup() {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const requests = new RequestLog(log);
  const answered = (method: string, status: number, principal = 'local') =>
    requests.answered({ requestId: 'r', method, operation: 'listVms', status, principal, elapsedTime: 1.6 });
  return { lines, requests, answered };
}

test('what changes something and what was refused has a line; a read that went well has none', () => {
  const { lines, requests, answered } = setup();
  answered('GET', 200);
  answered('POST', 202);
  answered('GET', 403);
  requests.close();
  assert.deepEqual(
    lines.map(({ method, status, ms }) => [method, status, ms]),
    [
      ['POST', 202, 2],
      ['GET', 403, 2],
    ],
  );
});

test('a flood of refused requests is told of by how many there were, by who asked', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { lines, requests, answered } = setup();
  for (let n = 0; n < 1000; n += 1) answered('GET', 429, 'busy');
  answered('GET', 429, 'other');
  assert.equal(lines.length, 2);
  t.mock.timers.tick(1000);
  for (let n = 0; n < 10; n += 1) answered('GET', 429, 'busy');
  requests.close();
  assert.deepEqual(
    lines.slice(2).map(({ principal, requests: many }) => [principal, many]),
    [
      ['busy', 999],
      ['busy', 10],
    ],
  );
});
