import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ShadowferryError } from '../errors.ts';
import type { HostDevice } from '../host/host.ts';
import type { DirectNic } from '../hypervisor/qemu/spec.ts';
import { matchDevices } from './match.ts';

const nic = (id: string, network: string): DirectNic => ({
  id,
  mac: '52:54:00:00:00:01',
  network,
  standby: 'none',
  direct: { device: 'here', model: 'e1000e' },
});

const device = (id: string, network: string): HostDevice => ({
  id,
  kind: 'emulated-nic',
  model: 'vmxnet3',
  network,
});

const nobody = () => undefined;

function match(
  nics: DirectNic[],
  devices: HostDevice[],
  asked: Record<string, string> = {},
  holder: (device: HostDevice) => string | undefined = nobody,
) {
  const request = { vm: 'web1', devices: asked, continuityOf: {} };
  return matchDevices(request, nics, { host: 'b', devices, holder });
}

const pairs = (matches: ReturnType<typeof match>) => matches.map((each) => [each.nic.id, each.target.id]);

const saying = (code: string, text: RegExp) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === code && text.test(error.message);

const TWO = [nic('net0', 'lan'), nic('net1', 'dmz')];

test('each NIC gets the device of its network, in whatever order the host offers them', () => {
  const offered = [device('nic0', 'dmz'), device('nic1', 'lan')];
  for (const devices of [offered, offered.toReversed()]) {
    const matches = match(TWO, devices);
    assert.deepEqual(pairs(matches), [
      ['net0', 'nic1'],
      ['net1', 'nic0'],
    ]);
    assert.ok(matches.every(({ reason }) => reason.startsWith('the only one that is free')));
  }
});

test('of several that fit the first is taken, which is said', () => {
  const [first] = match([nic('net0', 'lan')], [device('nic3', 'lan'), device('nic1', 'lan')]);
  assert.equal(first?.target.id, 'nic3');
  assert.match(first?.reason ?? '', /the first of 2 .*nic1.*--device net0=DEVICE/);
});

test('a device that one NIC asks for is not given to another before it', () => {
  const devices = [device('nic0', 'lan'), device('nic1', 'lan')];
  const nics = [nic('net0', 'lan'), nic('net1', 'lan')];
  assert.deepEqual(pairs(match(nics, devices, { net1: 'nic0' })), [
    ['net0', 'nic1'],
    ['net1', 'nic0'],
  ]);
  assert.deepEqual(pairs(match(nics, devices)), [
    ['net0', 'nic0'],
    ['net1', 'nic1'],
  ]);
});

test('an explicit device of another network is refused: what is swapped is said', () => {
  const devices = [device('nic0', 'lan'), device('nic1', 'dmz')];
  assert.throws(
    () => match(TWO, devices, { net0: 'nic1', net1: 'nic0' }),
    saying('INPUT_FIELD', /devices\.net0.*nic1 is on network "dmz"/),
  );
});

test('too few devices: the NIC that gets none is named, with why each device does not fit', () => {
  const nics = [nic('net0', 'lan'), nic('net1', 'lan')];
  assert.throws(
    () => match(nics, [device('nic0', 'lan'), device('nic1', 'dmz')]),
    saying('INPUT_FIELD', /devices\.net1.*nic0 is for net0, nic1 is on network "dmz"/),
  );
  assert.throws(
    () => match([nic('net0', 'lan')], [device('nic0', 'lan')], {}, () => 'db1'),
    saying('INPUT_FIELD', /nic0 is held by VM "db1"/),
  );
});

test('names that are not there, and a device for two NICs, are refused', () => {
  const devices = [device('nic0', 'lan'), device('nic1', 'dmz')];
  assert.throws(() => match(TWO, devices, { net7: 'nic0' }), saying('UNKNOWN_DEVICE', /devices\.net7/));
  assert.throws(() => match(TWO, devices, { net0: 'nic7' }), saying('UNKNOWN_DEVICE', /nic7/));
  assert.throws(
    () => match(TWO, devices, { net0: 'nic0', net1: 'nic0' }),
    saying('DEVICE_CLAIMED_TWICE', /nic0/),
  );
  const request = { vm: 'web1', devices: {}, continuityOf: { net9: 'hold' } } as const;
  assert.throws(
    () => matchDevices(request, TWO, { host: 'b', devices, holder: nobody }),
    saying('UNKNOWN_DEVICE', /continuityOf\.net9/),
  );
});

test('nothing is given twice, everything is on its network, and a device is found whenever there are enough', () => {
  const network = fc.constantFrom('lan', 'dmz', 'san');
  fc.assert(
    fc.property(
      fc.array(network, { minLength: 1, maxLength: 5 }),
      fc.array(network, { maxLength: 8 }),
      (wanted, offered) => {
        const nics = wanted.map((each, n) => nic(`net${n}`, each));
        const devices = offered.map((each, n) => device(`nic${n}`, each));
        const count = (all: string[], one: string) => all.filter((each) => each === one).length;
        const enough = wanted.every((each) => count(offered, each) >= count(wanted, each));
        if (!enough) {
          assert.throws(() => match(nics, devices));
          return;
        }
        const matches = match(nics, devices);
        assert.equal(new Set(matches.map(({ target }) => target.id)).size, nics.length);
        for (const each of matches) assert.equal(each.target.network, each.nic.network);
        assert.deepEqual(match(nics, devices), matches);
      },
    ),
  );
});
