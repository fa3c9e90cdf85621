import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { abilitiesOf } from '../shadow/net/abilities.ts';
import { byDefault } from '../shadow/net/baseline.ts';
import { shadow } from '../shadow/net/plan.test-data.ts';
import type { ReplayPlan } from '../shadow/net/plan-model.ts';
import { knowledgeOf, unknownText } from './knowledge.ts';
import { refuseLosses, trafficWarnings } from './losses.ts';

const E1000E = '8086:10d3';
const plan = (more: Partial<ReplayPlan>): ReplayPlan => ({
  schema: 1,
  continuity: 'hold',
  standIn: 'bond',
  match: { mac: '52:54:00:00:00:01', pciPath: '0000:01:00.0' },
  deviceName: 'eth0-d',
  interfaceName: 'eth0',
  sets: { adopt: [], leave: [], attach: [], giveback: [] },
  losses: [],
  adaptations: [],
  warnings: [],
  ...more,
});
const known = knowledgeOf([], shadow(), E1000E, 'hold');
const ring = { key: 'ring.rx', value: '4096', now: '256', how: 'takes at most 256' };
const unchosen = { key: 'ring.tx', value: '256', now: '512', how: byDefault('vmxnet3') };
const loss = { key: 'wake.on', value: 'g', why: 'has no Wake-on-LAN' };

const refused = (says: RegExp) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === 'LOSS_REFUSED' && says.test(error.message);

describe('--on-loss refuse', () => {
  const refuse = (more: Partial<ReplayPlan>, what = known) =>
    refuseLosses({ vm: 'web1', model: 'vmxnet3', plan: plan(more), known: what });

  it('lets go what loses nothing, or only what nobody chose', () => {
    refuse({});
    refuse({ adaptations: [unchosen] });
  });
  it('names each loss and adaptation', () => {
    assert.throws(
      () => refuse({ losses: [loss], adaptations: [ring, unchosen] }),
      refused(/wake\.on g: has no Wake-on-LAN; ring\.rx 4096 becomes 256: takes at most 256$/),
    );
  });
  it('names so many only', () => {
    const losses = Array.from({ length: 40 }, (_, n) => ({ ...loss, key: `feature.f${n}` }));
    assert.throws(() => refuse({ losses }), refused(/f11 g.*; and 28 more$/));
  });
  it('refuses a device of which nothing is known', () => {
    const nothing = knowledgeOf([], shadow(), '15ad:07b0', 'hold');
    assert.throws(() => refuse({}, nothing), refused(/no vmxnet3 was seen before/));
  });
});

describe('what traffic depends on', () => {
  it('is told before it happens', () => {
    const mtu = { key: 'link.mtu', value: '9000', now: '1500', how: 'rtl8139 takes at most 1500' };
    const texts = trafficWarnings(plan({ adaptations: [mtu, ring], losses: [loss] }));
    assert.equal(texts.length, 1);
    assert.match(texts[0] ?? '', /link\.mtu 9000 becomes 1500/);
  });
});

describe('what is known of both devices', () => {
  const seen = abilitiesOf(shadow(), true);
  assert.ok(seen);
  it('of the same kind is what the old one can do', () => {
    assert.equal(known.exact, true);
    assert.equal(known.abilities?.maxMtu, 9212);
    assert.equal(unknownText(known, 'e1000e'), undefined);
  });
  it('of a kind never seen is nothing, and it is looked at where that costs no traffic', () => {
    assert.equal(known.defaults, undefined);
    assert.equal(known.learn, false);
    assert.equal(knowledgeOf([], shadow(), E1000E, 'bridge').learn, true);
    assert.equal(knowledgeOf([seen], shadow(), E1000E, 'bridge').learn, false);
  });
  it('says what the old driver begins with', () => {
    assert.equal(knowledgeOf([seen], shadow(), '15ad:07b0', 'hold').defaults?.['ring.rx'], '4096');
    const other = { ...seen, version: '9.9' };
    assert.equal(knowledgeOf([other], shadow(), '15ad:07b0', 'hold').defaults, undefined);
  });
  it('under another driver or kernel is said to be that', () => {
    const other = { ...seen, pciId: '15ad:07b0', version: '9.9' };
    const what = knowledgeOf([other], shadow(), '15ad:07b0', 'hold');
    assert.match(unknownText(what, 'vmxnet3') ?? '', /under another driver or kernel/);
  });
});
