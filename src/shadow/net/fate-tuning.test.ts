import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { changedFate, type TuningThere, tuningFate } from './fate-tuning.ts';
import type { DriverState, Setting } from './model.ts';
import { shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';
import type { QueueLayout } from './queue-model.ts';
import { verify } from './verify.ts';

const layout = (rx: number, tx: number, ...vectors: string[]): QueueLayout => ({
  rx,
  tx,
  vectors,
  allCpus: 'f',
});
const there = (queues: QueueLayout, ...tuning: [string, string][]): TuningThere => ({
  device: 'vmxnet3',
  layout: queues,
  tuning: tuning.map(([name, value]) => ({ name, value })),
});
const setting = (name: string, value: string): Setting => ({ name, value });
const fateOf = (name: string, value: string, device: TuningThere) => {
  const fate = tuningFate(setting(name, value), device);
  if (fate === undefined) return undefined;
  return fate.fate === 'lost' ? `lost: ${fate.why}` : `${fate.now}: ${fate.how}`;
};

describe('a setting on a device that has not', () => {
  const bare = there(layout(1, 1, 'both-0', 'other-0'));

  const CASES: [string, string, string | undefined][] = [
    ['queue.rx-2.rps_cpus', '4', '4: vmxnet3 has 1 receive queue: it is part of rx-0 now'],
    ['queue.rx-0.rps_cpus', '4', undefined],
    ['queue.tx-1.xps_cpus', '2', 'none: vmxnet3 has one transmit queue, so there is none to choose'],
    ['irq.rx-0', '2', 'f: vmxnet3 has interrupt both-0 for it'],
    ['irq.tx-3', '2', 'f: vmxnet3 has interrupt both-0 for it'],
    ['irq.both-0', '2', undefined],
    ['irq.other-0', '1', undefined],
    ['rss.spread', 'weight 3 1', 'none: vmxnet3 has one receive queue, which everything goes to'],
    ['rss.key', 'default', 'none: vmxnet3 has no key of its own, and none was asked for'],
    ['private-flag.legacy-rx', 'on', 'lost: vmxnet3 has no private flag "legacy-rx"'],
    [
      'private-flag.legacy-rx',
      'off',
      'none: vmxnet3 has no private flag "legacy-rx", and none was asked for',
    ],
    ['wake.on', 'd', 'none: vmxnet3 has no Wake-on-LAN, and none was asked for'],
    ['wake.on', 'g', 'lost: vmxnet3 has no Wake-on-LAN'],
    ['message.level', '0x7', 'lost: vmxnet3 has no message level'],
    ['clock.index', '0', 'lost: vmxnet3 has no clock for time stamps'],
    ['napi.threaded', '1', undefined],
    ['queue.rps_sock_flow_entries', '512', undefined],
  ];
  for (const [name, value, expected] of CASES) {
    it(`${name} ${value} → ${expected ?? 'may be as it was'}`, () => {
      assert.equal(fateOf(name, value, bare), expected);
    });
  }

  it('cannot be spread where there is no table for several queues', () => {
    const several = there(layout(4, 4));
    assert.match(fateOf('rss.spread', 'equal', several) ?? '', /^lost: vmxnet3 cannot be told how/);
    assert.match(fateOf('flow-hash.udp4', 'sd', several) ?? '', /^lost: vmxnet3 cannot be told which/);
  });

  it('has no interrupt besides those of the queues', () => {
    assert.match(fateOf('irq.other-0', '1', there(layout(1, 1, 'both-0'))) ?? '', /^lost/);
  });
});

describe('a setting that shows another value', () => {
  const before: DriverState = {
    ...{ features: [], rings: [], channels: [], coalesce: [], pause: [] },
    tuning: [],
    layout: layout(4, 4),
  };
  const two = there(layout(2, 2));
  it('is adapted where the device has fewer queues', () => {
    const fold = changedFate(setting('queue.rx-0.rps_cpus', '1'), '5', before, two);
    assert.equal(fold?.fate, 'adapted');
    assert.equal(
      changedFate(setting('rss.spread', 'weight 1 2 3 4'), 'weight 2 3', before, two)?.fate,
      'adapted',
    );
  });
  it('is adapted where an interrupt serves more', () => {
    assert.equal(changedFate(setting('irq.rx-0', '1'), '5', before, two)?.fate, 'adapted');
    assert.equal(changedFate(setting('irq.rx-0', '2'), '5', before, two), undefined);
  });
  it('is adapted where the clock has another number', () => {
    assert.equal(changedFate(setting('clock.index', '0'), '3', before, two)?.fate, 'adapted');
  });
  it('has no excuse on as many queues', () => {
    const four = there(layout(4, 4));
    assert.equal(changedFate(setting('queue.rx-0.rps_cpus', '1'), '5', before, four), undefined);
  });
});

describe('the result of a replay', () => {
  const withTuning = (tuning: Setting[], queues: QueueLayout) => {
    const base = shadow();
    assert.ok(base.driver);
    return shadow({ driver: { ...base.driver, tuning, layout: queues } });
  };
  it('says what the operation said, where nothing else explains it', () => {
    const before = withTuning([setting('napi.threaded', '1')], layout(1, 1));
    const after = withTuning([], layout(1, 1));
    const plan = planReplay(before, { continuity: 'replay' });
    const { id } = plan.sets.attach.find(({ attributes }) => attributes.includes('napi.threaded')) ?? {};
    assert.ok(id !== undefined);
    const outcomes = verify(before, after, plan, [{ id, rc: 1, stderr: 'Operation not permitted' }]);
    const lost = outcomes.find(({ key }) => key === 'napi.threaded');
    assert.equal(lost?.fate === 'lost' && lost.why, 'the operation failed: Operation not permitted');
  });
  it('of the same device restores everything', () => {
    const tuning = [
      setting('rss.spread', 'weight 3 1'),
      setting('queue.rx-1.rps_cpus', '3'),
      setting('irq.both-1', '1'),
      setting('ntuple.3', 'flow-type tcp4 dst-port 80 action 1'),
    ];
    const same = withTuning(tuning, layout(2, 2, 'both-0', 'both-1'));
    assert.ok(
      verify(same, same, planReplay(same, { continuity: 'replay' })).every(({ fate }) => fate === 'restored'),
    );
  });
});
