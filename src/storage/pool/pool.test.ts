import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import type { ErrorCode } from '../../errors.ts';
import { ShadowferryError } from '../../errors.ts';
import { createPool, lookAtPool, openPool } from './open.ts';
import { Pool } from './pool.ts';
import { CATALOG, SUPERBLOCK, seal } from './seal.ts';
import { AT_ONCE, NO_QEMU, SimulatedDevice } from './simulated.test-data.ts';
import { endOf, freeExtents, problemOf } from './space.ts';

const MIB = 1024 * 1024;
const directory = mkdtempSync(join(tmpdir(), 'shadowferry-pool-'));
after(() => rmSync(directory, { recursive: true, force: true }));
let files = 0;
const newPath = () => join(directory, `pool-${++files}`);
const never = new AbortController().signal;
const openIt = (path: string) => openPool(path, NO_QEMU, never);

const failsWith =
  (code: ErrorCode, text = /./) =>
  (error: unknown) =>
    error instanceof ShadowferryError && error.code === code && text.test(`${error.message} ${error.fix}`);

async function small(): Promise<Pool> {
  return createPool(newPath(), { size: 16 * MIB, sparse: true, volumes: 64 });
}

test('a volume is a contiguous extent that reads as zeros, and is there when the pool is opened again', async () => {
  const path = newPath();
  const pool = await createPool(path, { size: 32 * MIB });
  const first = await pool.allocate('first', 3 * MIB + 1);
  assert.equal(first.size, 4 * MIB, 'rounded up to the alignment');
  await pool.device.write(first.offset, Buffer.alloc(first.size, 1));
  await pool.delete('first');
  const second = await pool.allocate('second', 4 * MIB);
  assert.equal(second.offset, first.offset);
  assert.ok((await pool.device.read(second.offset, second.size)).every((byte) => byte === 0));
  await pool.close();
  const { catalog } = await lookAtPool(path);
  assert.deepEqual(catalog.volumes, [second]);
});

test('a volume goes where it fits best', async () => {
  await using pool = await small();
  for (const [name, size] of Object.entries({ a: 3, x: 1, b: 2, y: 1, c: 3, z: 1 }))
    await pool.allocate(name, size * MIB);
  for (const name of ['a', 'b', 'c']) await pool.delete(name);
  const holes = freeExtents(pool.geometry, pool.catalog).map(({ size }) => size / MIB);
  assert.deepEqual(holes, [3, 2, 3, 4]);
  const place = pool.volume('x').offset + MIB;
  assert.equal((await pool.allocate('fits', 2 * MIB)).offset, place);
});

test('what does not fit is refused with what is there, and with the way to make room', async () => {
  await using pool = await small();
  for (let count = 0; count < 7; count += 1) await pool.allocate(`v${count}`, 2 * MIB);
  for (const name of ['v1', 'v3']) await pool.delete(name);
  const room = freeExtents(pool.geometry, pool.catalog).map(({ size }) => size / MIB);
  assert.deepEqual(room.slice(0, 2), [2, 2]);
  await assert.rejects(
    pool.allocate('big', 3 * MIB),
    failsWith('POOL_NO_ROOM', /largest has 2 MiB.*reorganize --for 3145728/s),
  );
  await assert.rejects(pool.allocate('huge', 99 * MIB), failsWith('POOL_NO_ROOM', /larger device/));
  await assert.rejects(pool.allocate('v0', MIB), failsWith('VOLUME_EXISTS'));
  for (const name of ['', '../x', 'a b', '-a', 'a'.repeat(64)])
    await assert.rejects(pool.allocate(name, MIB), failsWith('INPUT_FIELD'));
  await assert.rejects(pool.delete('nobody'), failsWith('VOLUME_UNKNOWN'));
});

test('a volume grows where it is, or moves for it only when it may', async () => {
  await using pool = await small();
  const a = await pool.allocate('a', MIB);
  await pool.device.write(a.offset, Buffer.alloc(MIB, 7));
  assert.equal((await pool.grow('a', 2 * MIB, { ...AT_ONCE(), relocate: false })).offset, a.offset);
  await pool.allocate('b', MIB);
  await assert.rejects(
    pool.grow('a', 3 * MIB, { ...AT_ONCE(), relocate: false }),
    failsWith('VOLUME_HEMMED', /--relocate/),
  );
  const moved = await pool.grow('a', 4 * MIB, { ...AT_ONCE(), relocate: true });
  assert.deepEqual([moved.size, moved.offset === a.offset], [4 * MIB, false]);
  const bytes = await pool.device.read(moved.offset, moved.size);
  assert.ok(bytes.every((byte, at) => byte === (at < MIB ? 7 : 0)));
  await assert.rejects(
    pool.grow('a', MIB, { ...AT_ONCE(), relocate: true }),
    failsWith('INPUT_FIELD', /shrink/),
  );
});

test('a volume that is used is not deleted, grown, moved or claimed by another', async () => {
  await using pool = await small();
  const { id } = await pool.allocate('a', MIB);
  await pool.hold('a', { name: 'vm web' });
  const refused = failsWith('VOLUME_IN_USE', /used by vm web/);
  await assert.rejects(pool.delete('a'), refused);
  await assert.rejects(pool.grow('a', 2 * MIB, { ...AT_ONCE(), relocate: false }), refused);
  await assert.rejects(pool.move(id, { offset: pool.geometry.end - MIB, size: MIB }, AT_ONCE()), refused);
  await assert.rejects(pool.hold('a', { name: 'other' }), refused);
  await pool.hold('a', { name: 'vm web', qemu: { monitor: '/run/m', node: 'disk0' } });
  await pool.hold('a', undefined);
  await pool.delete('a');
});

test('a full catalog refuses one more volume and keeps what it has', async () => {
  await using pool = await createPool(newPath(), {
    size: 8 * MIB,
    sparse: true,
    volumes: 1,
    alignment: 4096,
  });
  const volumes = async () => {
    for (let count = 0; ; count += 1) await pool.allocate(`${count}`.padEnd(63, 'x'), 4096);
  };
  await assert.rejects(volumes, failsWith('POOL_CATALOG_FULL'));
  const before = pool.catalog.volumes.length;
  assert.ok(before >= 1);
  await pool.delete(pool.catalog.volumes[0]?.name ?? '');
  assert.equal(pool.catalog.volumes.length, before - 1);
});

test('one process changes a pool at a time; others may look', async () => {
  const path = newPath();
  const first = await createPool(path, { size: 8 * MIB, volumes: 8 });
  await assert.rejects(openIt(path), failsWith('POOL_BUSY', /another process/));
  assert.deepEqual((await lookAtPool(path)).catalog.volumes, []);
  await first.close();
  await (await openIt(path)).pool.close();
});

test('nothing is overwritten by a new pool unless that is said', async () => {
  const path = newPath();
  writeFileSync(path, Buffer.alloc(8 * MIB));
  const handle = await open(path, 'r+');
  await handle.write(Buffer.from('EFI PART'), 0, 8, 8 * MIB - 512);
  await handle.close();
  await assert.rejects(createPool(path, { volumes: 8 }), failsWith('POOL_NOT_EMPTY', /end/));
  await (await createPool(path, { volumes: 8, force: true })).close();
  await assert.rejects(createPool(path), failsWith('POOL_NOT_EMPTY', /there is a pool/));
  await assert.rejects(createPool(path, { size: 8 * MIB }), failsWith('INPUT_FIELD', /exists/));
  await assert.rejects(
    createPool(newPath(), { size: MIB / 2, sparse: true }),
    failsWith('INPUT_FIELD', /too few/),
  );
  await assert.rejects(openIt(join(directory, 'nowhere')), failsWith('INPUT_FIELD'));
  await assert.rejects(openIt(directory), failsWith('INPUT_FIELD'));
});

/** A pool with one volume, and the bytes of its file changed. */
async function spoiled(change: (pool: Pool) => Promise<void>): Promise<string> {
  const pool = await small();
  await pool.allocate('kept', MIB);
  await change(pool);
  await pool.close();
  return pool.device.path;
}

test('one damaged copy of catalog and superblock is put right, two are told', async () => {
  const hit = (pool: Pool, places: readonly number[]) =>
    Promise.all(places.map((at) => pool.device.write(at + 100, Buffer.from('damage'))));
  const one = await spoiled(async (pool) => void (await hit(pool, [0, pool.geometry.copies[0]])));
  const { pool } = await openIt(one);
  assert.deepEqual(
    pool.catalog.volumes.map(({ name }) => name),
    ['kept'],
  );
  await hit(pool, [pool.geometry.copies[1]]);
  await pool.close();
  assert.equal((await lookAtPool(one)).catalog.volumes.length, 1, 'the first copy was made whole again');
  const catalog = await spoiled(async (each) => void (await hit(each, each.geometry.copies)));
  await assert.rejects(openIt(catalog), failsWith('POOL_CORRUPT', /no copy of it is whole/));
  const superblock = await spoiled(async (each) => void (await hit(each, [0, 64 * 1024])));
  await assert.rejects(openIt(superblock), failsWith('POOL_CORRUPT', /superblocks/));
});

test('a foreign file, a newer format, overlapping volumes and a device that shrank are told apart', async () => {
  const foreign = newPath();
  writeFileSync(foreign, 'short');
  await assert.rejects(openIt(foreign), failsWith('POOL_FOREIGN'));
  const newer = await spoiled((pool) => pool.device.write(0, seal(SUPERBLOCK, {}, 2)));
  await assert.rejects(openIt(newer), failsWith('POOL_NEWER', /format 2/));
  const later = await spoiled((pool) => pool.device.write(pool.geometry.copies[1], seal(CATALOG, {}, 3)));
  await assert.rejects(openIt(later), failsWith('POOL_NEWER', /format 3/));
  const overlapping = await spoiled(async (pool) => {
    const volumes = [1, 2].map((id) => ({ id, name: `v${id}`, offset: pool.geometry.start, size: MIB }));
    const content = {
      pool: pool.geometry.uuid,
      generation: 99,
      catalog: { nextId: 3, volumes, move: null },
    };
    await pool.device.write(pool.geometry.copies[0], seal(CATALOG, content));
  });
  await assert.rejects(openIt(overlapping), failsWith('POOL_CORRUPT', /overlap/));
  const shrunk = await spoiled(async () => {});
  truncateSync(shrunk, 8 * MIB);
  await assert.rejects(openIt(shrunk), failsWith('POOL_CORRUPT', /only 8388608/));
});

const Step = fc.oneof(
  fc.record({
    do: fc.constant('allocate' as const),
    name: fc.nat(12),
    units: fc.integer({ min: 1, max: 20 }),
  }),
  fc.record({ do: fc.constant('delete' as const), name: fc.nat(12), units: fc.constant(0) }),
  fc.record({ do: fc.constant('grow' as const), name: fc.nat(12), units: fc.integer({ min: 1, max: 30 }) }),
  fc.record({ do: fc.constant('move' as const), name: fc.nat(12), units: fc.nat(60) }),
);

test('whatever is asked for, volumes never overlap, keep their content, and free and taken make the whole', async () => {
  const unit = 4096;
  await fc.assert(
    fc.asyncProperty(fc.array(Step, { maxLength: 30 }), async (steps) => {
      const pool = await Pool.create(new SimulatedDevice(460 * 1024), { alignment: unit, volumes: 12 });
      const stamps = new Map<string, number>();
      for (const [index, step] of steps.entries()) {
        const name = `v${step.name}`;
        try {
          if (step.do === 'allocate') {
            const { offset } = await pool.allocate(name, step.units * unit);
            await pool.device.write(offset, Buffer.alloc(unit, index + 1));
            stamps.set(name, index + 1);
          } else if (step.do === 'delete') {
            await pool.delete(name);
            stamps.delete(name);
          } else if (step.do === 'grow') {
            await pool.grow(name, step.units * unit, { ...AT_ONCE(), relocate: true });
          } else {
            const { id, size } = pool.volume(name);
            await pool.move(id, { offset: pool.geometry.start + step.units * unit, size }, AT_ONCE());
          }
        } catch (error) {
          // a move over another volume must not get into the catalog; the rest is refused by name
          assert.ok(error instanceof ShadowferryError);
          if (step.do !== 'move') assert.notEqual(error.code, 'INTERNAL');
        }
        assert.equal(problemOf(pool.geometry, pool.catalog), undefined);
        const pieces = [...pool.catalog.volumes, ...freeExtents(pool.geometry, pool.catalog)];
        pieces.sort((a, b) => a.offset - b.offset);
        let at = pool.geometry.start;
        for (const piece of pieces) {
          assert.equal(piece.offset, at);
          at = endOf(piece);
        }
        assert.equal(at, pool.geometry.end);
        assert.deepEqual(pool.catalog.volumes.map((each) => each.name).sort(), [...stamps.keys()].sort());
        for (const volume of pool.catalog.volumes)
          assert.equal((await pool.device.read(volume.offset, 1))[0], stamps.get(volume.name));
      }
    }),
    { numRuns: 40 },
  );
});
