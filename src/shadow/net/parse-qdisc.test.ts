import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isObject } from './capture-text.ts';
import { qdiscOf } from './parse-qdisc.ts';
import { tbfArguments } from './parse-tbf.ts';
import { QDISCS } from './qdisc.test-data.ts';

function parse(printed: string, extra: Record<string, unknown> = {}, lower?: string) {
  const object: unknown = JSON.parse(printed);
  assert.ok(isObject(object));
  const unknown: string[] = [];
  const qdisc = qdiscOf({ dev: 'eth0', ...object, ...extra }, 'eth0', lower, (_, text) => unknown.push(text));
  return { qdisc, unknown };
}

/** Arguments that were tried: the guest's tc took them and then printed the same again. */
const ARGS: Record<string, string> = {
  fq: 'limit 10000 flow_limit 100 buckets 1024 orphan_mask 1023 quantum 3028 initial_quantum 15140 low_rate_threshold 68750bps refill_delay 40000us timer_slack 10000ns horizon 10000000us horizon_drop',
  fq_codel:
    'limit 10240 flows 1024 quantum 1514 target 5000us interval 100000us memory_limit 33554432 ecn drop_batch 64',
  'fq_codel limit 2000 flows 512 target 7ms interval 120ms noecn memory_limit 8Mb drop_batch 32 ce_threshold 3ms quantum 300':
    'limit 2000 flows 512 quantum 300 target 7000us ce_threshold 3000us interval 120000us memory_limit 8388608 drop_batch 32 noecn',
  'codel limit 500 target 3ms interval 70ms ecn ce_threshold 2ms':
    'limit 500 target 3000us ce_threshold 2000us interval 70000us ecn',
  'pfifo limit 333': 'limit 333',
  'bfifo limit 333000': 'limit 333000',
  pfifo_fast: '',
  'sfq perturb 10 limit 100 quantum 3000 depth 50 divisor 512 headdrop':
    'limit 100 quantum 3000 depth 50 headdrop divisor 512 perturb 10',
  'tbf rate 10mbit burst 32k latency 50ms': 'rate 1250000bps linklayer ethernet burst 32768/1 limit 95268',
  'prio bands 4 priomap 1 2 3 3 1 2 0 0 1 1 1 1 1 1 1 1': 'bands 4 priomap 1 2 3 3 1 2 0 0 1 1 1 1 1 1 1 1',
  'htb default 10 r2q 20': 'r2q 20 default 0x10 direct_qlen 1000',
  'netem delay 10ms reorder 25% 50% gap 5': 'limit 1000 delay 10000us 0us 0% reorder 25% 50% gap 5',
  'netem rate 5mbit 10 20 3': 'limit 1000 rate 625000bps 10 20 3 gap 0',
  'netem loss gemodel 1% 10% 70% 0.1%': 'limit 1000 loss gemodel 1% 10% 70% 0.1% gap 0',
  'cake bandwidth 10mbit':
    'bandwidth 1250000bps diffserv3 triple-isolate nonat nowash egress no-ack-filter split-gso rtt 100000us raw overhead 0 fwmark 0',
  pie: 'limit 1000 target 15000us tupdate 16000us alpha 2 beta 20',
  'netem loss 2% ecn': 'limit 1000 loss 2% 0% ecn gap 0',
};

/** Of these tc prints too little, or nothing that it takes back. */
const NOT_UNDERSTOOD = /redflowlimit|peakrate|^red/;

describe('arguments of a qdisc', () => {
  for (const { configured, printed } of QDISCS) {
    it(configured, () => {
      const { qdisc, unknown } = parse(printed);
      if (NOT_UNDERSTOOD.test(configured)) {
        assert.equal(qdisc, undefined);
        assert.equal(unknown.length, 1);
        return;
      }
      assert.ok(qdisc);
      assert.equal(qdisc.handle, '5:');
      assert.equal(qdisc.parent, 'root');
      const wanted = ARGS[configured];
      if (wanted !== undefined) assert.equal(qdisc.args.join(' '), wanted);
    });
  }

  it('says what tc does not show: the distribution of jitter', () => {
    const jitter = QDISCS.find(({ configured }) => configured.includes('distribution'));
    assert.match(parse(jitter?.printed ?? '').unknown.join(), /distribution/);
  });
});

describe('which qdiscs', () => {
  const pfifo = '{"kind":"pfifo","handle":"5:","root":true,"options":{"limit":7}}';
  it('are taken: those that somebody configured on the interface', () => {
    assert.ok(parse(pfifo).qdisc);
    assert.deepEqual(parse(pfifo, { handle: '0:' }), { qdisc: undefined, unknown: [] });
    assert.deepEqual(parse(pfifo, { dev: 'other' }), { qdisc: undefined, unknown: [] });
  });
  it('are reported: those of the device below a shadow interface', () => {
    const { qdisc, unknown } = parse(pfifo, { dev: 'eth0-d' }, 'eth0-d');
    assert.equal(qdisc, undefined);
    assert.equal(unknown.length, 1);
  });
  it('hang below a class', () => {
    const { qdisc } = parse('{"kind":"pfifo","handle":"20:","parent":"1:10","options":{"limit":7}}');
    assert.equal(qdisc?.parent, '1:10');
  });
});

describe('tbf', () => {
  const micros = (bytes: number, rate: number) => Math.floor(Math.floor((15.625e6 * bytes) / rate) / 15.625);
  /** What tc prints of a burst and a limit in bytes. */
  const print = (rate: number, bytes: number, limit: number) => ({
    burst: Math.floor((rate * micros(bytes, rate)) / 1e6),
    latency: Math.floor((1e6 * limit) / rate) - micros(bytes, rate),
  });

  it('is printed the same again, so that nothing is lost however often a VM migrates', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1000, max: 5_000_000_000 }),
        fc.integer({ min: 1500, max: 10_000_000 }),
        fc.integer({ min: 1500, max: 10_000_000 }),
        (rate, bytes, queue) => {
          const before = print(rate, bytes, bytes + queue);
          const args = tbfArguments(rate, `${before.burst}b/1`, before.latency) ?? [];
          const after = print(rate, Number.parseInt(args[1] ?? '', 10), Number(args[3]));
          assert.equal(after.burst, before.burst, 'burst');
          const again = tbfArguments(rate, `${after.burst}b/1`, after.latency) ?? [];
          assert.deepEqual(again, args, 'latency');
        },
      ),
      { numRuns: 1000 },
    );
  });
  it('in a form that is not known is not guessed', () => {
    assert.equal(tbfArguments(1000, '1.5Gb', 5), undefined);
  });
});
