import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { deadline } from '../../../base/deadline.ts';
import { ShadowferryError } from '../../../errors.ts';
import { QmpClient } from '../../../hypervisor/qmp/client.ts';
import type { Extent } from '../model.ts';
import { createPool, openPool } from '../open.ts';
import { Pace } from '../pace.ts';
import type { Pool } from '../pool.ts';
import { endOf, freeExtents } from '../space.ts';
import { QemuMover, QemuRecovery } from './mover.ts';
import { nodeFacts } from './nodes.ts';
import { TestQemu, Writer } from './qemu.test-data.ts';

const MIB = 1024 * 1024;
const tools = ['qemu-system-x86_64', 'qemu-io'];
const lacking = tools.find((tool) => spawnSync(tool, ['--version']).error !== undefined);
const skip = lacking === undefined ? false : `${lacking} is missing on this machine`;
const soon = () => deadline('a test', 120_000);

async function setUp(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'shadowferry-pool-live-'));
  const pool = await createPool(join(directory, 'pool'), { size: 48 * MIB, sparse: true, volumes: 8 });
  const volume = await pool.allocate('vm', 8 * MIB);
  await pool.device.write(volume.offset, Buffer.alloc(volume.size, 255)); // zeros would be copied at once
  const qemu = await TestQemu.start(directory, pool, 'vm');
  const writer = new Writer(qemu.nbd, volume.size);
  t.after(async () => {
    writer.kill();
    await qemu.kill();
    await pool.close().catch(() => {});
    rmSync(directory, { recursive: true });
  });
  return { pool, qemu, volume, writer };
}

/** Free room of `size` bytes at the end of the pool. */
function atEnd(pool: Pool, size: number): Extent {
  return { offset: pool.geometry.end - size, size };
}

async function writes(writer: Writer, count: number): Promise<void> {
  const until = writer.writes + count;
  while (writer.writes < until) await new Promise((resolve) => setImmediate(resolve));
}

describe('a volume that a QEMU has open', { skip }, () => {
  it('is moved under a writer, who notices nothing and loses nothing; no other byte of the pool changes', async (t) => {
    const { pool, qemu, volume, writer } = await setUp(t);
    const running = writer.run();
    await writes(writer, 20);
    const done: number[] = [];
    const to = atEnd(pool, volume.size);
    const options = { pace: new Pace(), signal: soon(), progress: (bytes: number) => done.push(bytes) };
    await new QemuMover().move(pool, pool.volume('vm'), to, options);
    const moved = pool.volume('vm');
    assert.equal(moved.offset, to.offset);
    assert.notEqual(moved.holder?.qemu?.node, 'vol0');
    await writes(writer, 20);
    // there and back again, with the names that the first move gave
    await new QemuMover().move(pool, moved, { offset: volume.offset, size: volume.size }, options);
    await writes(writer, 20);
    assert.equal(await writer.stop(running), true, 'the writer saw no error');
    assert.deepEqual(writer.missing(await pool.device.read(volume.offset, volume.size)), []);
    assert.equal(pool.catalog.move, null);
    const between = { offset: endOf(volume), size: to.offset - endOf(volume) };
    assert.ok((await pool.device.read(between.offset, between.size)).every((byte) => byte === 0));
    await using qmp = await QmpClient.connect({ path: qemu.monitor, name: 'test', signal: soon() });
    assert.equal(await nodeFacts(qmp, 'vol0', soon()), undefined, 'old nodes are away');
  });

  it('waits with what is left of its move while that is paused, and a cancelled move leaves it where it was', async (t) => {
    const { pool, volume, writer } = await setUp(t);
    const running = writer.run();
    const pace = new Pace(MIB);
    const cancel = new AbortController();
    let told = 0;
    const moving = new QemuMover().move(pool, pool.volume('vm'), atEnd(pool, volume.size), {
      pace,
      signal: cancel.signal,
      progress: () => {
        told += 1;
        if (told === 1) pace.pause();
        if (told === 3) pace.resume();
        if (told === 5) cancel.abort(new ShadowferryError('CANCELLED', { phase: 'move' }));
      },
    });
    await assert.rejects(moving, (error: ShadowferryError) => error.code === 'CANCELLED');
    await writes(writer, 20);
    assert.equal(await writer.stop(running), true);
    assert.equal(pool.volume('vm').offset, volume.offset);
    assert.equal(pool.catalog.move, null);
    assert.deepEqual(writer.missing(await pool.device.read(volume.offset, volume.size)), []);
    assert.equal(freeExtents(pool.geometry, pool.catalog).length, 1, 'the new place is free again');
  });

  it('stays where it was when its QEMU dies during the move, and the pool can be used again', async (t) => {
    const { pool, qemu, volume, writer } = await setUp(t);
    const running = writer.run();
    await writes(writer, 10);
    const moving = new QemuMover().move(pool, pool.volume('vm'), atEnd(pool, volume.size), {
      pace: new Pace(MIB),
      signal: soon(),
      progress: () => void qemu.kill(),
    });
    await assert.rejects(moving, (error: ShadowferryError) => error.code === 'QMP_CLOSED');
    assert.equal(await writer.stop(running), false);
    await pool.close();
    const again = await openPool(pool.device.path, new QemuRecovery(pool.device.path, soon()), soon());
    assert.equal(again.recovered.action, 'back');
    assert.equal(again.pool.volume('vm').offset, volume.offset);
    const bytes = await again.pool.device.read(volume.offset, volume.size);
    assert.deepEqual(writer.missing(bytes), []);
    await again.pool.close();
  });

  it('refuses what does not fit the catalog: another node, or one of another size', async (t) => {
    const { pool, qemu, volume } = await setUp(t);
    await pool.hold('vm', { name: 'test', qemu: { monitor: qemu.monitor, node: 'other' } });
    const move = new QemuMover().move(pool, pool.volume('vm'), atEnd(pool, volume.size), {
      pace: new Pace(),
      signal: soon(),
    });
    await assert.rejects(move, (error: ShadowferryError) => error.code === 'POOL_MOVE_FAILED');
    assert.equal(pool.catalog.move, null);
  });
});
