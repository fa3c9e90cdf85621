import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pool } from './pool.ts';
import { recover } from './recover.ts';
import { AT_ONCE, NO_QEMU, PowerLoss, SimulatedDevice, seeded } from './simulated.test-data.ts';
import { problemOf } from './space.ts';

const UNIT = 4096;
const SIZE = 448 * 1024;
const SHAPE = { alignment: UNIT, volumes: 4 };

/** Content that tells a volume and each of its units apart. */
function content(name: string, units: number): Buffer {
  const bytes = Buffer.alloc(units * UNIT);
  for (let at = 0; at < bytes.length; at += 64) bytes.write(`${name}:${at};`, at);
  return bytes;
}

async function fill(pool: Pool, name: string): Promise<void> {
  const { offset, size } = pool.volume(name);
  await pool.device.write(offset, content(name, size / UNIT));
  await pool.device.sync();
}

/** What must be true after the step that is under way began: names to their possible sizes in units; 0 is absence. */
type Expectation = Map<string, Set<number>>;

interface Scene {
  pool: Pool;
  expected: Expectation;
}

async function allocate({ pool, expected }: Scene, name: string, units: number): Promise<void> {
  expected.set(name, new Set([0, units]));
  await pool.allocate(name, units * UNIT);
  expected.set(name, new Set([-units]));
  await fill(pool, name);
  expected.set(name, new Set([units]));
}

async function remove({ pool, expected }: Scene, name: string, units: number): Promise<void> {
  expected.set(name, new Set([0, units]));
  await pool.delete(name);
  expected.set(name, new Set([0]));
}

/** A scenario with every kind of change; content that was confirmed must survive it everywhere. */
async function play(scene: Scene): Promise<void> {
  const { pool, expected } = scene;
  const move = async (name: string, offset: number) => {
    const { id, size } = pool.volume(name);
    await pool.move(id, { offset, size }, AT_ONCE());
  };
  await allocate(scene, 'a', 3);
  await allocate(scene, 'b', 7);
  await allocate(scene, 'c', 2);
  await remove(scene, 'a', 3);
  const { start, end } = pool.geometry;
  await move('b', start + UNIT); // down, over itself, by two units
  await move('b', start); // by one
  await move('c', end - 2 * UNIT); // to a place apart
  await move('b', start + 3 * UNIT); // up, over itself
  expected.set('b', new Set([7, 9]));
  await pool.grow('b', 9 * UNIT, { ...AT_ONCE(), relocate: false });
  expected.set('b', new Set([9]));
  await allocate(scene, 'd', 1);
  expected.set('b', new Set([9, 30]));
  await pool.grow('b', 30 * UNIT, { ...AT_ONCE(), relocate: true });
  expected.set('b', new Set([30]));
  await pool.hold('d', { name: 'vm' });
  await pool.hold('d', undefined);
  await remove(scene, 'd', 1);
}

/** Content of a volume whose first 7 units were filled and which has grown since. */
function wanted(name: string, units: number): Buffer {
  const filled = name === 'b' ? 7 : units;
  return Buffer.concat([content(name, filled), Buffer.alloc((units - filled) * UNIT)]);
}

async function check(found: Buffer | SimulatedDevice, expected: Expectation, where: string): Promise<void> {
  const device = found instanceof SimulatedDevice ? found : new SimulatedDevice(found);
  const pool = await Pool.open(device);
  await recover(pool, NO_QEMU, new AbortController().signal);
  assert.equal(pool.catalog.move, null);
  assert.equal(problemOf(pool.geometry, pool.catalog), undefined, where);
  for (const [name, sizes] of expected) {
    const volume = pool.catalog.volumes.find((each) => each.name === name);
    const units = (volume?.size ?? 0) / UNIT;
    const unconfirmed = sizes.has(-units);
    assert.ok(sizes.has(units) || unconfirmed, `${where}: ${name} has ${units}`);
    if (volume === undefined || unconfirmed || sizes.has(0)) continue;
    const bytes = await device.read(volume.offset, volume.size);
    assert.ok(bytes.equals(wanted(name, units)), `${where}: content of ${name}`);
  }
  const known = [...expected.keys()];
  assert.deepEqual(
    pool.catalog.volumes.filter(({ name }) => !known.includes(name)),
    [],
    where,
  );
  // and it can be written again
  await pool.delete(pool.catalog.volumes[0]?.name ?? (await pool.allocate('later', 1)).name);
}

async function playUntil(empty: Buffer, failsAt: number) {
  const device = new SimulatedDevice(empty);
  device.failsAt = failsAt;
  const expected: Expectation = new Map();
  try {
    await play({ pool: await Pool.open(device), expected });
    return { device, expected, ended: true };
  } catch (error) {
    if (!hasPowerLoss(error)) throw error;
    return { device, expected, ended: false };
  }
}

function hasPowerLoss(error: unknown): boolean {
  return error instanceof PowerLoss || (error instanceof Error && hasPowerLoss(error.cause));
}

async function emptyPool(): Promise<Buffer> {
  const device = new SimulatedDevice(SIZE);
  await Pool.create(device, SHAPE);
  return device.contents();
}

/** Ways in which what was not synced may be found: all, nothing, torn, and any mixture in any order. */
function* losses(random: () => number, mixtures: number) {
  const inOrder = (writes: number) => Array.from({ length: writes }, (_, index) => index);
  const shuffled = (writes: number) =>
    inOrder(writes)
      .map((index) => ({ index, key: random() }))
      .sort((a, b) => a.key - b.key)
      .map(({ index }) => index);
  yield { keeps: () => true, order: inOrder };
  yield { keeps: () => false, order: inOrder };
  for (let round = 0; round < mixtures; round += 1) {
    const share = random();
    yield { keeps: () => random() < share, order: shuffled };
  }
}

test('power lost before any write or sync leaves what was confirmed, whatever of the rest reached the disk', async () => {
  const empty = await emptyPool();
  const random = seeded(7);
  let boundaries = 0;
  for (let failsAt = 0; ; failsAt += 1) {
    const { device, expected, ended } = await playUntil(empty, failsAt);
    for (const { keeps, order } of losses(random, 4))
      await check(device.afterPowerLoss(keeps, order), expected, `operation ${failsAt}`);
    await check(device.afterKill(), expected, `killed at operation ${failsAt}`);
    boundaries = failsAt;
    if (ended) break;
  }
  assert.ok(boundaries > 100, `${boundaries} boundaries`);
});

/** Devices on which the next process may find a scenario that was cut short: the power was lost, or only a process. */
function* successors(cut: SimulatedDevice, random: () => number): Generator<() => SimulatedDevice> {
  const [, , torn] = losses(random, 1);
  assert.ok(torn);
  const disk = cut.afterPowerLoss(torn.keeps, torn.order);
  yield () => new SimulatedDevice(disk);
  yield () => cut.afterKill();
}

test('power lost during the recovery, also of what a killed process left in memory, leaves it to be recovered again', async () => {
  const empty = await emptyPool();
  const random = seeded(8);
  for (let failsAt = 20; ; failsAt += 7) {
    const first = await playUntil(empty, failsAt);
    if (first.ended) break;
    for (const successor of successors(first.device, random)) {
      for (let again = 0; ; again += 1) {
        const device = successor();
        device.failsAt = again;
        const ended = await Pool.open(device)
          .then((pool) => recover(pool, NO_QEMU, new AbortController().signal))
          .then(
            () => true,
            (error) => {
              if (!hasPowerLoss(error)) throw error;
              return false;
            },
          );
        for (const { keeps, order } of losses(random, 1))
          await check(device.afterPowerLoss(keeps, order), first.expected, `${failsAt}, then ${again}`);
        if (ended) break;
      }
    }
  }
});

test('power lost while a pool is made leaves a pool or none', async () => {
  for (let failsAt = 0; ; failsAt += 1) {
    const device = new SimulatedDevice(SIZE);
    device.failsAt = failsAt;
    const made = await Pool.create(device, SHAPE).then(
      () => true,
      () => false,
    );
    for (const { keeps, order } of losses(seeded(failsAt), 3)) {
      const found = await Pool.open(new SimulatedDevice(device.afterPowerLoss(keeps, order))).then(
        () => 'pool',
        (error: { code?: string }) => error.code,
      );
      assert.ok(found === 'pool' || (!made && (found === 'POOL_FOREIGN' || found === 'POOL_CORRUPT')), found);
    }
    if (made) break;
  }
});
