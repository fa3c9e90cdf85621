import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { abilitiesOf, knownDevice } from './abilities.ts';
import { defaultsOf, untouchedOf } from './baseline.ts';
import { goldenShadow } from './golden.test-data.ts';
import type { DeviceAbilities, NetShadow } from './model.ts';
import { shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';
import { verify } from './verify.ts';

const withRing = (rx: string, driver = 'e1000e'): NetShadow => {
  const base = shadow();
  assert.ok(base.hardware && base.driver);
  return shadow({
    hardware: { ...base.hardware, driver, kernel: '6.1' },
    driver: { ...base.driver, rings: [{ name: 'rx', value: rx, max: '4096' }] },
  });
};

describe('a value that nobody chose', () => {
  const fresh = withRing('256');
  const defaults = defaultsOf(fresh);
  const after = withRing('512', 'other');

  it('is not set on another device, and gives way to that one’s own', () => {
    const plan = planReplay(fresh, { continuity: 'replay', defaults });
    assert.ok(!plan.sets.attach.some(({ argv }) => argv[0] === '-G'));
    const outcome = verify(fresh, after, plan).find(({ key }) => key === 'ring.rx');
    assert.equal(outcome?.fate, 'adapted');
    assert.match(outcome?.fate === 'adapted' ? outcome.how : '', /^nobody chose it/);
  });

  it('is told before, where the other driver’s own is known', () => {
    const abilities = abilitiesOf(after, true);
    assert.ok(abilities);
    const plan = planReplay(fresh, { continuity: 'replay', defaults, abilities });
    assert.equal(plan.adaptations.find(({ key }) => key === 'ring.rx')?.now, '512');
    assert.deepEqual(plan.losses, []);
  });

  it('is told from one that somebody did choose', () => {
    const chosen = withRing('1024');
    assert.ok(!untouchedOf(chosen, defaults).includes('ring.rx'));
    const plan = planReplay(chosen, { continuity: 'replay', defaults });
    assert.ok(plan.sets.attach.some(({ argv }) => argv.join(' ') === '-G eth0 rx 1024'));
    const outcome = verify(chosen, after, plan).find(({ key }) => key === 'ring.rx');
    assert.doesNotMatch(outcome?.fate === 'adapted' ? outcome.how : '', /^nobody chose it/);
  });

  it('of an offload is set all the same', () => {
    const plan = planReplay(fresh, { continuity: 'replay', defaults });
    assert.ok(plan.sets.attach.some(({ argv }) => argv[0] === '-K'));
  });

  it('cannot be told as long as nothing is known', () => {
    assert.deepEqual(untouchedOf(fresh, undefined), []);
  });

  it('is never an address or a route', () => {
    const golden = goldenShadow('vmxnet3');
    assert.ok(untouchedOf(golden, defaultsOf(golden)).length > 10);
    assert.ok(
      !untouchedOf(golden, defaultsOf(golden)).some((key) => /^(address|route|sysctl|link)/.test(key)),
    );
  });
});

describe('what is known of a device', () => {
  const known = (version: string): DeviceAbilities => {
    const abilities = abilitiesOf(withRing('256'));
    assert.ok(abilities);
    return { ...abilities, version };
  };
  it('is exact only for the same driver and kernel', () => {
    const all = [known('1.0 6.1'), known('1.0 6.12')];
    assert.deepEqual(knownDevice(all, '8086:10d3', { kernel: '6.12' }), { abilities: all[1], exact: true });
    assert.deepEqual(knownDevice(all, '8086:10d3', { exactly: '1.0 6.1' }), {
      abilities: all[0],
      exact: true,
    });
    assert.equal(knownDevice(all, '8086:10d3', { kernel: '5.10' })?.exact, false);
    assert.equal(knownDevice(all, '8086:ffff', { kernel: '6.1' }), undefined);
  });
});
