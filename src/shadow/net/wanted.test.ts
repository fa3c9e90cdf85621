import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attributesOf } from './attributes.ts';
import type { NetShadow, Setting } from './model.ts';
import { LINK, shadow } from './plan.test-data.ts';
import { verify } from './verify.ts';
import { wantedAfter, withWanted } from './wanted.ts';

const BOOT = 'b00t';
const driver = (rx: string, max: string, tuning: Setting[], more: Partial<NetShadow> = {}): NetShadow => {
  const base = shadow();
  assert.ok(base.hardware && base.driver);
  return shadow({
    hardware: { ...base.hardware, boot: BOOT },
    driver: {
      ...base.driver,
      rings: [{ name: 'rx', value: rx, max }],
      tuning,
      layout: { rx: 1, tx: 1, vectors: [] },
    },
    ...more,
  });
};
const shown = (from: NetShadow, key: string) => attributesOf(from).find((each) => each.key === key)?.value;

const KEY = '01:02:03';
const chosen = driver('4096', '4096', [
  { name: 'rss.key', value: KEY },
  { name: 'wake.on', value: 'g' },
]);
const small = driver('64', '64', [], { link: { ...LINK, mtu: 1400 } });

describe('what a user set and a device could not have', () => {
  const jumbo = { ...chosen, link: { ...LINK, mtu: 9000 } };
  const wanted = wantedAfter(jumbo, small, verify(jumbo, small));

  it('comes back on a device that can have it', () => {
    const again = withWanted(small, wanted);
    assert.equal(shown(again, 'ring.rx'), '4096');
    assert.equal(shown(again, 'wake.on'), 'g');
    assert.equal(shown(again, 'link.mtu'), '9000');
    assert.equal(again.driver?.tuning?.find(({ name }) => name === 'rss.key')?.value, KEY);
    assert.deepEqual(
      verify(again, jumbo).filter(({ fate }) => fate !== 'restored'),
      [],
    );
  });

  it('waits for as many trips as it takes', () => {
    const first = withWanted(small, wanted);
    const smaller = driver('16', '16', [], { link: { ...LINK, mtu: 1400 } });
    const second = wantedAfter(first, smaller, verify(first, smaller));
    assert.equal(shown(withWanted(smaller, second), 'ring.rx'), '4096');
  });

  it('is forgotten when it was restored', () => {
    const again = withWanted(small, wanted);
    assert.deepEqual(wantedAfter(again, jumbo, verify(again, jumbo)), []);
  });

  it('gives way to what somebody chose meanwhile', () => {
    const other = driver('32', '64', []);
    assert.equal(shown(withWanted(other, wanted), 'ring.rx'), '32');
  });

  it('does not outlive the guest’s boot', () => {
    assert.ok(small.hardware);
    const rebooted = { ...small, hardware: { ...small.hardware, boot: 'later' } };
    assert.equal(withWanted(rebooted, wanted), rebooted);
  });

  it('of queues and interrupts comes back as a whole, or not at all', () => {
    const four = driver('64', '64', [
      { name: 'irq.rx-0', value: '1' },
      { name: 'irq.rx-1', value: '2' },
      { name: 'queue.rx-0.rps_cpus', value: '1' },
      { name: 'queue.rx-1.rps_cpus', value: '2' },
    ]);
    const folded = [
      { name: 'irq.both-0', value: '3' },
      { name: 'queue.rx-0.rps_cpus', value: '3' },
    ];
    const one = driver('64', '64', folded);
    const kept = wantedAfter(four, one, verify(four, one));
    assert.deepEqual(
      withWanted(one, kept).driver?.tuning?.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      four.driver?.tuning,
    );
    const chosen = driver('64', '64', [...folded, { name: 'irq.other-0', value: '1' }]);
    const half = withWanted(chosen, kept).driver?.tuning?.map(({ name }) => name) ?? [];
    assert.deepEqual(
      half.filter((name) => name.startsWith('irq.')),
      ['irq.both-0', 'irq.other-0'],
    );
    assert.ok(half.includes('queue.rx-1.rps_cpus'));
  });

  it('is only what somebody chose', () => {
    const untouched = ['ring.rx', 'wake.on'];
    const kept = wantedAfter(chosen, small, verify(chosen, small), untouched);
    assert.deepEqual(
      kept.map(({ key }) => key).filter((key) => untouched.includes(key)),
      [],
    );
  });

  it('of an offload that was fixed otherwise may be changed again', () => {
    const on = driver('64', '64', []);
    assert.ok(on.driver);
    const fixed = {
      ...on,
      driver: { ...on.driver, features: [{ name: 'tx-tcp-segmentation', on: true, fixed: true }] },
    };
    const kept = wantedAfter(on, fixed, verify(on, fixed));
    const again = withWanted(fixed, kept);
    assert.deepEqual(
      again.driver?.features.find(({ name }) => name === 'tx-tcp-segmentation'),
      { name: 'tx-tcp-segmentation', on: false, fixed: false },
    );
  });
});
