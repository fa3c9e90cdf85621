import assert from 'node:assert/strict';
import { type Duplex, duplexPair } from 'node:stream';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { FIRST_KIND, FrameReader, frameHead, LINK_FRAME } from './frame.ts';
import { newSessionKey, printHello } from './hello.ts';
import { Link, type LinkOptions } from './link.ts';
import { SendWindow } from './send-window.ts';

const KEY = newSessionKey();

interface Ends {
  dialler: Link;
  taker: Link;
  came: string[];
  answers: string[];
  /** Breaks every connection that lives. */
  cut: () => void;
  /** No new connection comes about until it is called again. */
  block: (blocked: boolean) => void;
}

/** Two ends and the connections between them, in memory. */
function ends(options: Partial<LinkOptions> & { connections?: number; slow?: boolean } = {}): Ends {
  const { connections = 1, slow = false, ...more } = options;
  const live = new Set<Duplex>();
  const [came, answers]: [string[], string[]] = [[], []];
  let blocked = false;
  const base = { key: KEY, deadlineMs: 3_000, quietMs: 1_000, ...more };
  const keep = (into: string[]) => async (kind: number, payload: Uint8Array) => {
    into.push(`${kind}:${Buffer.from(payload).toString('utf8').slice(0, 20)}`);
    if (slow) await turn();
  };
  const taker = new Link({ ...base, onFrame: keep(came) });
  const dialler = Link.dial({
    ...base,
    connections,
    onFrame: keep(answers),
    dial: async () => {
      if (blocked) throw new Error('the cable is cut');
      const [here, there] = duplexPair();
      for (const each of [here, there]) {
        live.add(each);
        each.on('error', () => {});
        each.on('close', () => live.delete(each));
      }
      taker.accept(there);
      return here;
    },
  });
  const cut = () => {
    for (const each of live) each.destroy();
  };
  return { dialler, taker, came, answers, cut, block: (is) => (blocked = is) };
}

async function over({ dialler, taker }: Ends): Promise<void> {
  dialler.finish();
  taker.finish();
  await Promise.all([dialler.closed, taker.closed]);
}

describe('a link', () => {
  it('brings frames in their order, in both directions, and says goodbye', async () => {
    const both = ends({ connections: 3 });
    const words = Array.from({ length: 200 }, (_, n) => `word ${n}`);
    for (const word of words) await both.dialler.send(FIRST_KIND, Buffer.from(word));
    await both.taker.send(FIRST_KIND + 1, Buffer.from('thanks'));
    await Promise.all([both.dialler.drained(), both.taker.drained()]);
    assert.deepEqual(
      both.came,
      words.map((word) => `16:${word}`),
    );
    assert.deepEqual(both.answers, ['17:thanks']);
    both.dialler.finish();
    assert.deepEqual(await Promise.all([both.dialler.closed, both.taker.closed]), [undefined, undefined]);
    await assert.rejects(both.dialler.send(FIRST_KIND, Buffer.from('late')), { code: 'TRANSFER_PROTOCOL' });
  });

  it('brings each frame once and in order, wherever its connections break', async () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        cuts,
        fc.integer({ min: 1, max: 3 }),
        fc.boolean(),
        async (gaps, connections, slow) => {
          const both = ends({ connections, slow });
          const words = Array.from({ length: 60 }, (_, n) => `${n}`);
          let untilCut = gaps[0] ?? 1;
          let next = 1;
          for (const word of words) {
            await both.dialler.send(FIRST_KIND, Buffer.alloc(20_000, `${word} `));
            await both.taker.send(FIRST_KIND, Buffer.from(word));
            untilCut -= 1;
            if (untilCut === 0) {
              both.cut();
              untilCut = gaps[next++] ?? -1;
            }
          }
          await Promise.all([both.dialler.drained(), both.taker.drained()]);
          assert.deepEqual(
            both.came.map((each) => each.split(/[: ]/)[1]),
            words,
          );
          assert.deepEqual(
            both.answers.map((each) => each.slice(3)),
            words,
          );
          assert.ok(both.dialler.reconnects >= 1);
          await over(both);
        },
      ),
      { numRuns: 6 },
    );
  });

  it('goes on after it was away for a while', async () => {
    const both = ends();
    await both.dialler.send(FIRST_KIND, Buffer.from('before'));
    both.block(true);
    both.cut();
    await both.dialler.send(FIRST_KIND, Buffer.from('meanwhile'));
    setTimeout(() => both.block(false), 600);
    await both.dialler.drained();
    assert.deepEqual(both.came, ['16:before', '16:meanwhile']);
    await over(both);
  });

  it('is lost when it is away for too long, at both ends, with the reason', async () => {
    const both = ends({ deadlineMs: 700 });
    await both.dialler.send(FIRST_KIND, Buffer.from('before'));
    await both.dialler.drained();
    both.block(true);
    both.cut();
    const waiting = both.dialler.send(FIRST_KIND, Buffer.alloc(600_000));
    await assert.rejects(waiting, { code: 'TRANSFER_LINK_LOST' });
    const [here, there] = await Promise.all([both.dialler.closed, both.taker.closed]);
    assert.match(String(here), /away for more than 700 ms: the cable is cut/);
    assert.match(String(there), /away for more than 700 ms/);
  });

  it('makes the sender wait while the other end takes nothing', async () => {
    const gate = Promise.withResolvers<void>();
    let sent = 0;
    const taker = new Link({ key: KEY, deadlineMs: 3_000, quietMs: 1_000, onFrame: () => gate.promise });
    const dialler = Link.dial({
      ...{ key: KEY, deadlineMs: 3_000, quietMs: 1_000, connections: 1, onFrame: async () => {} },
      dial: async () => {
        const [here, there] = duplexPair();
        taker.accept(there);
        return here;
      },
    });
    const all = (async () => {
      for (; sent < 40; sent++) await dialler.send(FIRST_KIND, Buffer.alloc(100_000));
    })();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.ok(sent <= 7, `${sent} frames of 100 kB went before any was taken`);
    gate.resolve();
    await all;
    dialler.finish();
    await taker.closed;
  });

  it('keeps to a rate', async () => {
    const both = ends({ rate: 1_000_000 });
    const start = performance.now();
    for (let n = 0; n < 12; n++) await both.dialler.send(FIRST_KIND, Buffer.alloc(50_000));
    await both.dialler.drained();
    const ms = performance.now() - start;
    assert.ok(ms > 400, `600 kB at 1 MB/s took ${ms} ms`);
    await over(both);
  });

  it('tells the other end why it gives up', async () => {
    const both = ends();
    await both.dialler.send(FIRST_KIND, Buffer.from('x'));
    await both.dialler.drained();
    both.taker.abort(new Error('no room'));
    assert.match(String(await both.dialler.closed), /it gave up: no room/);
    assert.match(String(await both.taker.closed), /no room/);
  });

  it('does not listen to strangers, and goes on', async () => {
    const both = ends();
    const strangers = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      frame(LINK_FRAME.hello, printHello(newSessionKey(), 0)),
      frame(FIRST_KIND, Buffer.from('no greeting')),
      frame(LINK_FRAME.hello, Buffer.from('?')),
    ];
    for (const bytes of strangers) {
      const [here, there] = duplexPair();
      both.taker.accept(there);
      here.on('error', () => {});
      const closed = new Promise((resolve) => here.once('close', resolve).once('end', resolve).resume());
      here.write(bytes);
      await closed;
    }
    await both.dialler.send(FIRST_KIND, Buffer.from('still here'));
    await both.dialler.drained();
    assert.deepEqual(both.came, ['16:still here']);
    await over(both);
  });

  it('ends when its own other end keeps saying what cannot be', async () => {
    const taker = new Link({ key: KEY, deadlineMs: 3_000, quietMs: 1_000, onFrame: async () => {} });
    for (let n = 0; n < 5; n++) {
      const [here, there] = duplexPair();
      taker.accept(there);
      here.on('error', () => {}).resume();
      here.write(frame(LINK_FRAME.hello, printHello(KEY, 0)));
      here.write(frame(LINK_FRAME.ack, Buffer.alloc(0), 77));
      await new Promise((resolve) => here.once('close', resolve).once('end', resolve));
    }
    assert.match(String(await taker.closed), /never sent/);
  });

  it('takes any bytes without harm', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(noise, { maxLength: 12 }), async (parts) => {
        const taker = new Link({ key: KEY, deadlineMs: 3_000, quietMs: 1_000, onFrame: async () => {} });
        const [here, there] = duplexPair();
        here.on('error', () => {}).resume();
        taker.accept(there);
        here.write(Buffer.concat([frame(LINK_FRAME.hello, printHello(KEY, 0)), ...parts]));
        await turn();
        taker.finish();
        await taker.closed;
        here.destroy();
      }),
      { numRuns: 300 },
    );
  });
});

function frame(kind: number, payload: Uint8Array, number = 0): Buffer {
  return Buffer.concat([frameHead({ kind, number, payload }), payload]);
}

/** Frames of any kind and number, damaged ones, and bytes that are none. */
const noise = fc.oneof(
  fc.uint8Array({ maxLength: 80 }),
  fc
    .tuple(fc.nat(20), fc.uint8Array({ maxLength: 200 }), fc.nat(5))
    .map(([kind, payload, number]) => frame(kind, payload, number)),
);

describe('the reader of frames', () => {
  it('puts them together from chunks of any size, and finds damage', () => {
    const frames = [
      frame(16, Buffer.from('one'), 1),
      frame(17, Buffer.alloc(5000, 2), 2),
      frame(2, Buffer.alloc(0), 9),
    ];
    const bytes = Buffer.concat(frames);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6000 }), fc.nat(bytes.length - 1), (size, damaged) => {
        const kinds: number[] = [];
        const reader = new FrameReader(({ kind, number, payload }) =>
          kinds.push(kind, number, payload.length),
        );
        for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
        assert.deepEqual(kinds, [16, 1, 3, 17, 2, 5000, 2, 9, 0]);
        const other = Buffer.from(bytes);
        other[damaged] = (other[damaged] ?? 0) ^ 0x10;
        const seen: string[] = [];
        const suspicious = new FrameReader((each) =>
          seen.push(Buffer.from(frame(each.kind, each.payload, each.number)).toString('hex')),
        );
        try {
          suspicious.push(other);
        } catch (error) {
          assert.equal(Reflect.get(Object(error), 'code'), 'TRANSFER_PROTOCOL');
        }
        for (const [n, each] of seen.entries()) assert.equal(each, frames[n]?.toString('hex'));
      }),
      { numRuns: 200 },
    );
  });
});

describe('the window of a sender', () => {
  it('becomes what the link carries in a round trip and a little more, and never more than its limit', () => {
    const slow = new SendWindow();
    for (let ms = 0; ms < 4_000; ms += 10) slow.taken(250_000, ms, 40);
    assert.ok(Math.abs(slow.bytes - 25_000 * 90) < 100_000, `${slow.bytes} bytes at 25 MB/s and 40 ms`);
    const fast = new SendWindow();
    for (let ms = 0; ms < 1_000; ms += 10) fast.taken(10_000_000, ms, 1);
    assert.equal(fast.bytes, 16 * 1024 * 1024);
    assert.equal(new SendWindow().bytes, 512 * 1024);
  });
});
