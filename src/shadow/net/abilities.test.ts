import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { AbilityStore, abilitiesOf } from './abilities.ts';
import { goldenShadow } from './golden.test-data.ts';
import type { DeviceAbilities } from './model.ts';

const known = (name: 'e1000e' | 'vmxnet3' | 'rtl8139'): DeviceAbilities => {
  const abilities = abilitiesOf(goldenShadow(name));
  assert.ok(abilities);
  return abilities;
};

describe('abilitiesOf', () => {
  it('says what the device can do', () => {
    const abilities = known('vmxnet3');
    assert.equal(abilities.driver, 'vmxnet3');
    assert.equal(abilities.maxMtu, 9000);
    assert.ok(abilities.features.some(({ name, fixed }) => name === 'receive-hashing' && fixed));
  });
  it('says nothing while the device is away', () => {
    assert.equal(abilitiesOf(goldenShadow('e1000e-bond-away')), undefined);
  });
});

describe('AbilityStore', () => {
  let dir = '';
  let path = '';
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'shadowferry-abilities-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));
  beforeEach(async () => {
    await rm(dir, { recursive: true, force: true });
    path = join(dir, 'state', 'abilities.json');
  });

  it('knows nothing before anything was seen', async () => {
    assert.deepEqual(await new AbilityStore(path).all(), []);
  });

  it('remembers, for other processes too, by PCI id and driver', async () => {
    await new AbilityStore(path).remember(known('e1000e'));
    await new AbilityStore(path).remember(known('vmxnet3'));
    const store = new AbilityStore(path);
    assert.deepEqual(await store.get('8086:10d3', 'e1000e'), known('e1000e'));
    assert.equal(await store.get('8086:10d3', 'vmxnet3'), undefined);
    assert.equal((await store.all()).length, 2);
  });

  it('replaces what it knew', async () => {
    const store = new AbilityStore(path);
    await store.remember(known('e1000e'));
    await store.remember({ ...known('e1000e'), maxMtu: 1500 });
    assert.equal((await store.get('8086:10d3', 'e1000e'))?.maxMtu, 1500);
    assert.equal((await store.all()).length, 1);
  });

  it('keeps what several calls at once tell it, and leaves no temporary file', async () => {
    const store = new AbilityStore(path);
    await Promise.all(
      [known('e1000e'), known('vmxnet3'), known('rtl8139')].map((one) => store.remember(one)),
    );
    assert.equal((await store.all()).length, 3);
    assert.deepEqual(await readdir(join(dir, 'state')), ['abilities.json']);
  });

  it('takes a spoiled file for an empty one, and repairs it', async () => {
    const store = new AbilityStore(path);
    await store.remember(known('e1000e'));
    const whole = await readFile(path, 'utf8');
    for (const spoiled of ['', '{', 'null', '[]', '{"schema":2,"devices":{}}', whole.slice(0, 100)]) {
      await writeFile(path, spoiled);
      assert.deepEqual(await store.all(), []);
    }
    await store.remember(known('vmxnet3'));
    assert.equal((await store.all()).length, 1);
  });

  it('leaves out an entry that it does not understand', async () => {
    const store = new AbilityStore(path);
    await store.remember(known('e1000e'));
    const content = JSON.parse(await readFile(path, 'utf8'));
    content.devices['1:2 other'] = { pciId: 5 };
    await writeFile(path, JSON.stringify(content));
    assert.deepEqual(
      (await store.all()).map(({ driver }) => driver),
      ['e1000e'],
    );
  });
});
