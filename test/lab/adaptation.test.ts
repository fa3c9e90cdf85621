/**
 * A device that cannot have all that was set: refused where that is asked for, else adapted; what was wanted comes back
 * on a device that can have it, and what nobody chose is no loss.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import { learnDevice } from '../../src/lab/learn.ts';
import { migrateInLab } from '../../src/lab/scenario.ts';
import { parseRequest } from '../../src/migration/request.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import type { Outcome } from '../../src/shadow/net/model.ts';
import { CACHE, inGuest, MIGRATION_MS, moveOver } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const DIRECT = `${GUEST_INTERFACE}-d`;
const RING = `ethtool -g "$1" | grep '^RX:' | tail -n 1 | tr -dc 0-9`;

describe('a device that cannot have all that was set', needsNetworkRights(), () => {
  const directory = mkdtempSync(join(tmpdir(), 'adaptation-'));
  let lab: Lab;
  let vm: RunningVm;

  before(async () => {
    lab = await Lab.create({
      cacheDir: CACHE,
      abilities: join(directory, 'abilities.json'), // nothing is known yet
      devices: { a: ['e1000e'], b: ['rtl8139'] },
      log: console.log,
    });
    vm = await lab.boot();
    await inGuest(vm, 'ethtool -G "$1" rx 4096; ip link set dev "$1" mtu 9000', [GUEST_INTERFACE]);
  });
  after(async () => {
    await lab?.dispose();
    rmSync(directory, { recursive: true, force: true });
  });

  async function refused(): Promise<string> {
    const destination = vm.host.name === 'a' ? 'b' : 'a';
    const request = parseRequest({ vm: 'web1', destination, continuity: 'bridge', onLoss: 'refuse' });
    const { result } = await migrateInLab({ lab, vm, request });
    assert.equal(result.error?.code, 'LOSS_REFUSED', JSON.stringify(result.error));
    assert.equal(result.ending, 'rolled-back');
    assert.deepEqual(result.left, []);
    assert.equal((await lab.ownership.read('web1'))?.owner, vm.host.name);
    return result.error?.message ?? '';
  }

  const fateOf = ({ shadow }: MigrationResult, key: string): Outcome | undefined =>
    [...shadow.restored, ...shadow.adapted, ...shadow.lost].find((outcome) => outcome.key === key);

  it('is refused while nothing is known of it', { timeout: MIGRATION_MS }, async () => {
    assert.match(await refused(), /no rtl8139 was seen before/);
  });

  it('is asked beforehand what it can do, and then refused with what would be lost', {
    timeout: 2 * MIGRATION_MS,
  }, async () => {
    const [device] = lab.hosts.b.devices();
    assert.ok(device);
    const learned = await learnDevice(lab, lab.hosts.b, device);
    assert.deepEqual(
      [learned.pciId, learned.driver, learned.defaults?.['ring.rx']],
      ['10ec:8139', '8139cp', '64'],
    );
    assert.deepEqual(await lab.abilities.all(), [learned]);
    assert.deepEqual(await lab.ownership.claims('b'), []);
    assert.deepEqual(
      (await lab.ownership.list()).map((owned) => owned.vm),
      ['web1'],
    );
    assert.ok(!existsSync(lab.hosts.b.vmDirectory('learn-b-nic0')));
    const held = { code: 'DEVICE_IN_USE' };
    const [own] = lab.hosts.a.devices();
    assert.ok(own);
    await assert.rejects(learnDevice(lab, lab.hosts.a, own), held);
    assert.match(await refused(), /ring\.rx 4096 becomes 64: 8139cp takes at most 64/);
  });

  it('gets the nearest that it can have, and its driver’s own values are learned', {
    timeout: MIGRATION_MS,
  }, async () => {
    const moved = await moveOver(lab, vm, { continuity: 'bridge' });
    vm = moved.vm;
    assert.equal(await inGuest(vm, RING, [DIRECT]), '64');
    const ring = fateOf(moved.result, 'ring.rx');
    assert.deepEqual(ring, {
      fate: 'adapted',
      key: 'ring.rx',
      value: '4096',
      now: '64',
      how: '8139cp takes at most 64',
    });
    const mtu = fateOf(moved.result, 'link.mtu');
    assert.equal(mtu?.fate, 'adapted', JSON.stringify(mtu));
    const [learned] = await lab.abilities.all();
    assert.equal(learned?.driver, '8139cp');
    assert.equal(learned?.defaults?.['ring.rx'], '64');
    assert.match(learned?.version ?? '', /\d+\.\d+/);
  });

  it('gives way again to what was wanted', { timeout: MIGRATION_MS }, async () => {
    const moved = await moveOver(lab, vm, { continuity: 'bridge' });
    vm = moved.vm;
    assert.equal(await inGuest(vm, RING, [DIRECT]), '4096');
    assert.equal(fateOf(moved.result, 'ring.rx')?.fate, 'restored');
    assert.equal(await inGuest(vm, 'cat "/sys/class/net/$1/mtu"', [GUEST_INTERFACE]), '9000\n');
    const fresh = await lab.abilities.get('8086:10d3', 'e1000e');
    assert.equal(fresh?.defaults?.['ring.rx'], '256');
  });

  it('is refused, with what would be lost, once it is known', { timeout: MIGRATION_MS }, async () => {
    const message = await refused();
    assert.match(message, /ring\.rx 4096 becomes 64: 8139cp takes at most 64/);
    assert.match(message, /link\.mtu 9000 becomes/);
    assert.doesNotMatch(message, /coalesce|ring\.tx/); // which nobody chose
  });

  it('loses nothing that nobody chose', { timeout: MIGRATION_MS }, async () => {
    const moved = await moveOver(lab, vm, { continuity: 'bridge' });
    vm = moved.vm;
    const { adapted, lost } = moved.result.shadow;
    for (const key of ['coalesce.rx-usecs', 'ring.tx', 'wake.on', 'clock.index']) {
      assert.ok(!lost.some((loss) => loss.key === key), key);
    }
    assert.match(adapted.find(({ key }) => key === 'ring.tx')?.how ?? '', /^nobody chose it/);
    assert.ok(moved.result.warnings.some((text) => /link\.mtu 9000 becomes/.test(text)));
    assert.deepEqual(lost, []);
  });
});
