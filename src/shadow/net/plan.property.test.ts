/** Properties of plans for a device like the one that leaves. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { abilitiesOf } from './abilities.ts';
import { attributesOf } from './attributes.ts';
import { GOLDENS, goldenShadow } from './golden.test-data.ts';
import type { DriverState, NetShadow, Setting } from './model.ts';
import { hostileShadow, STANDBY, shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';
import type { Continuity } from './plan-model.ts';
import { summary, verify } from './verify.ts';

const MODES: Continuity[] = ['replay', 'hold', 'bridge'];

/** What a new index costs, whatever device comes: told by name, and no matter of abilities. */
const byIndex = (key: string): boolean => /^dependent\.|^link\.ifindex$/.test(key);

function plansFor(given: NetShadow): ReturnType<typeof planReplay>[] {
  const abilities = abilitiesOf(given);
  assert.ok(abilities);
  const withStandby = { ...given, standby: given.standby ?? STANDBY };
  return MODES.map((continuity) => planReplay(withStandby, { continuity, abilities }));
}

function assertNothingLost(given: NetShadow): void {
  for (const { losses, adaptations } of plansFor(given)) {
    assert.deepEqual(
      losses.filter(({ key }) => !byIndex(key)),
      [],
    );
    assert.deepEqual(adaptations, []);
  }
}

const setting = (name: string): fc.Arbitrary<Setting> =>
  fc.tuple(fc.nat(4096), fc.option(fc.nat(4096), { nil: undefined })).map(([value, more]) => ({
    name,
    value: String(value),
    ...(more === undefined ? {} : { max: String(value + more) }),
  }));

const some = (names: readonly string[]): fc.Arbitrary<Setting[]> =>
  fc.subarray([...names]).chain((chosen) => fc.tuple(...chosen.map(setting)));

const FEATURES = 'rx-checksumming tx-checksumming tx-tcp-segmentation rx-vlan-offload large-receive-offload';

/** Each is what some driver shows, with values that `ethtool` prints. */
const tuning = fc
  .record({
    'media.autoneg': fc.constant('off'),
    'media.speed': fc.constantFrom('10', '100', '1000'),
    'wake.on': fc.constantFrom('d', 'g', 'umbg'),
    'message.level': fc.constantFrom('0x0', '0x7', '0x7fff'),
    'private-flag.legacy rx': fc.constantFrom('on', 'off'),
    'eee.eee': fc.constantFrom('on', 'off'),
    'fec.encoding': fc.constantFrom('auto', 'baser rs', 'off'),
    'rss.spread': fc.constantFrom('equal', 'equal 2', 'weight 1 2', 'counts 3 5'),
    'rss.key': fc.constantFrom('default', '01:23:45'),
    'flow-hash.tcp4': fc.constantFrom('sd', 'sdfn'),
    'ntuple.3': fc.constant('flow-type tcp4 dst-port 80 action 1'),
    'clock.index': fc.constantFrom('0', '7'),
    'queue.rx-1.rps_cpus': fc.constantFrom('1', '3'),
    'queue.tx-0.tx_maxrate': fc.constantFrom('10', '1000'),
    'irq.both-1': fc.constantFrom('1', '2'),
    'napi.threaded': fc.constant('1'),
  })
  .chain((all) => fc.subarray(Object.entries(all)))
  .map((chosen) => chosen.map(([name, value]) => ({ name, value: String(value) })));

const driver: fc.Arbitrary<DriverState> = fc.record({
  features: fc
    .subarray(FEATURES.split(' '))
    .chain((names) =>
      fc.tuple(
        ...names.map((name) => fc.record({ name: fc.constant(name), on: fc.boolean(), fixed: fc.boolean() })),
      ),
    ),
  rings: some(['rx', 'tx', 'rx-mini', 'rx-buf-len']),
  channels: some(['rx', 'tx', 'combined', 'other']),
  coalesce: some(['rx-usecs', 'tx-usecs', 'rx-frames', 'stats-block-usecs']),
  pause: fc.constantFrom<Setting[]>([], [{ name: 'autoneg', value: 'off' }]),
  tuning,
  layout: fc.constant({ rx: 2, tx: 2, vectors: ['both-0', 'both-1', 'other-0'], allCpus: 'f' }),
  maxMtu: fc.integer({ min: 1500, max: 16_000 }),
});

describe('a plan for a device with the same abilities', () => {
  it('loses and adapts nothing, in every mode, of every golden capture', () => {
    let seen = 0;
    for (const name of GOLDENS) {
      const given = goldenShadow(name);
      if (given.hardware === undefined || given.driver === undefined) continue;
      seen += 1;
      for (const plan of plansFor(given)) {
        const { losses, adaptations } = plan;
        assert.deepEqual(
          losses.filter(({ key }) => !byIndex(key)),
          [],
          name,
        );
        assert.deepEqual(adaptations, [], name);
      }
    }
    assert.ok(seen > 10);
  });

  it('loses and adapts nothing, whatever the driver is set to', () => {
    fc.assert(
      fc.property(driver, fc.boolean(), (state, large) => {
        const given = shadow({ driver: state });
        const mtu = large ? (state.maxMtu ?? 1500) : 1500;
        assertNothingLost({ ...given, link: { ...given.link, mtu } });
      }),
    );
  });

  it('loses nothing of what has hostile names', () => {
    fc.assert(
      fc.property(hostileShadow, driver, (given, state) => {
        assertNothingLost({ ...given, driver: state });
      }),
    );
  });

  it('finds everything restored where the device shows what was captured', () => {
    fc.assert(
      fc.property(driver, fc.constantFrom(...MODES), (state, continuity) => {
        const given = shadow({ driver: state, standby: STANDBY });
        const abilities = abilitiesOf(given);
        const plan = planReplay(given, { continuity, ...(abilities ? { abilities } : {}) });
        const outcomes = verify(given, given, plan);
        assert.equal(outcomes.length, attributesOf(given).length);
        assert.deepEqual(
          outcomes.filter(({ fate }) => fate !== 'restored'),
          [],
          summary(outcomes).text,
        );
      }),
    );
  });
});
