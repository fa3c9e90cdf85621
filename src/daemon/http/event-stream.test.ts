import assert from 'node:assert/strict';
import { createServer, get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch } from '../fixture.test-data.ts';
import { openDaemonDatabase } from './database.ts';
import { EventLog } from './event-log.ts';
import { EventHub, type StreamLimits } from './event-stream.ts';

const LIMITS: StreamLimits = { streams: 4, streamBytes: 65_536 };

interface Setup {
  log: EventLog;
  hub: EventHub;
  dropped: () => number;
  /** Reads the stream; gives what came when it ends or `until` is in it. */
  read: (after: number | undefined, until: string) => Promise<string>;
  connect: (after: number | undefined) => Promise<IncomingMessage>;
  why: { now: string | undefined };
}

async function setup(
  t: Parameters<typeof scratch>[0],
  options: { limits?: StreamLimits; keep?: number; beatMs?: number } = {},
): Promise<Setup> {
  const directory = scratch(t);
  const db = openDaemonDatabase(join(directory, 'd.db'));
  const log = new EventLog(db, options.keep ?? 1000);
  let drops = 0;
  const hub = new EventHub(log, options.limits ?? LIMITS, () => (drops += 1), options.beatMs);
  const why: Setup['why'] = { now: undefined };
  const server = createServer((request, response) => {
    const after = new URL(request.url ?? '/', 'http://x').searchParams.get('after');
    const principal = { name: 'me', role: 'viewer', still: () => why.now } as const;
    try {
      hub.open(response, principal, after === null ? undefined : Number(after));
    } catch (error) {
      response.writeHead(429).end(String(error));
    }
  });
  const socketPath = join(directory, 's');
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  t.after(() => {
    hub.close();
    server.closeAllConnections();
    server.close();
    db.close();
  });
  const connect = (after: number | undefined) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const path = after === undefined ? '/' : `/?after=${after}`;
      get({ socketPath, path, agent: false }, resolve).once('error', reject);
    });
  const read = async (after: number | undefined, until: string) => {
    const response = await connect(after);
    let text = '';
    try {
      for await (const chunk of response) {
        text += String(chunk);
        if (text.includes(until)) break;
      }
    } finally {
      response.destroy();
    }
    return text;
  };
  return { log, hub, dropped: () => drops, read, connect, why };
}

const ids = (text: string) => [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));

test('a reader that comes back gets what it missed, once and in order, and then what comes', async (t) => {
  const { hub, read } = await setup(t);
  for (let n = 1; n <= 500; n++) hub.publish('step', { n });
  const reading = read(120, '"n":504}');
  const tick = setInterval(() => hub.publish('step', { n: hub.publish('x', {}).id + 1 }), 1);
  const text = await reading;
  clearInterval(tick);
  const seen = ids(text);
  assert.deepEqual(
    seen,
    seen.map((_, n) => 121 + n),
  );
  assert.ok(seen.length > 380);
});

test('without a number only what comes is told', async (t) => {
  const { hub, connect } = await setup(t);
  hub.publish('old', {});
  const response = await connect(undefined);
  hub.publish('new', { text: 'line\nbreak' });
  for await (const chunk of response) {
    const text = String(chunk);
    assert.ok(!text.includes('old'));
    if (text.includes('event: new')) {
      assert.match(
        text,
        /data: \{"id":2,"type":"new",.*"line\\nbreak"\}\}\n\n$/,
        'one line, whatever is in it',
      );
      break;
    }
  }
});

test('a reader whose place is gone, or was never there, is told to look at everything anew', async (t) => {
  const { hub, log, read } = await setup(t, { keep: 10 });
  for (let n = 0; n < 300; n++) hub.publish('e', {});
  assert.ok(log.bounds().first > 200, 'old ones are gone');
  const behind = await read(5, 'id: 300');
  assert.match(behind, /event: reset\ndata: \{"after":5,"first":\d+,"last":300\}/);
  assert.equal(ids(behind)[0], log.bounds().first);
  assert.match(await read(10_000, 'reset'), /event: reset/);
});

test('a reader that does not read is dropped at its bound, and memory does not grow', async (t) => {
  const { hub, connect, dropped } = await setup(t);
  const slow = await connect(undefined);
  slow.pause();
  const gone = new Promise((resolve) => slow.once('close', resolve));
  slow.on('error', () => {});
  const before = process.memoryUsage().arrayBuffers;
  const text = 'x'.repeat(8192);
  for (let n = 0; n < 2000 && dropped() === 0; n++) {
    hub.publish('big', { text });
    // the event loop runs, so that what can be sent is sent
    if (n % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(dropped(), 1);
  assert.equal(hub.readers, 0);
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 * 1024 * 1024);
  slow.resume();
  await gone;
});

test('a reader that is far behind and does not read gets no more than its connection takes', async (t) => {
  const { hub, connect } = await setup(t, { keep: 100_000 });
  const text = 'x'.repeat(4096);
  for (let n = 0; n < 3000; n++) hub.publish('big', { text });
  const before = process.memoryUsage();
  const slow = await connect(0);
  slow.pause();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const grown =
    process.memoryUsage().arrayBuffers +
    process.memoryUsage().heapUsed -
    before.arrayBuffers -
    before.heapUsed;
  assert.ok(grown < 24 * 1024 * 1024, `${grown} bytes for 12 MB that wait`);
  slow.destroy();
});

test('one principal has a bounded number of streams', async (t) => {
  const { hub, connect } = await setup(t, { limits: { ...LIMITS, streams: 2 } });
  const [first, second] = [await connect(undefined), await connect(undefined)];
  const third = await connect(undefined);
  assert.deepEqual([first.statusCode, second.statusCode, third.statusCode], [200, 200, 429]);
  assert.equal(hub.readers, 2);
});

test('rights that are taken back end a stream that is open', async (t) => {
  const { hub, read, why } = await setup(t, { beatMs: 20 });
  const reading = read(undefined, 'event: refused');
  why.now = 'the token is revoked';
  assert.match(await reading, /event: refused\ndata: \{"why":"the token is revoked"\}/);
  assert.equal(hub.readers, 0);
});

test('numbers go on growing over a restart, also when the last events were lost', (t) => {
  const path = join(scratch(t), 'd.db');
  const first = openDaemonDatabase(path);
  const { id } = new EventLog(first, 1).append('a', {});
  first.exec('DELETE FROM event');
  first.close();
  const second = openDaemonDatabase(path);
  t.after(() => second.close());
  assert.ok(new EventLog(second, 1).append('b', {}).id > id + 1000);
});
