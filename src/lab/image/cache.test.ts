import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { buildDirectory, publish, removeOlder } from './cache.ts';

describe('image cache', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'image-cache-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('removes the directory of a builder that is gone and keeps that of one that lives', async () => {
    const child = spawn('true');
    await once(child, 'exit');
    const gone = join(dir, `.building-${child.pid}-1-abc`);
    // the same process id, but another process: its start time differs
    const reused = join(dir, `.building-${process.pid}-1-abc`);
    await mkdir(gone);
    await mkdir(reused);
    const mine = await buildDirectory(dir);
    const second = await buildDirectory(dir);
    assert.deepEqual(await readdir(dir), [basename(mine), basename(second)].sort());
  });

  it('keeps what another builder has published first', async () => {
    const target = join(dir, 'image');
    for (const text of ['first', 'second']) {
      const work = await buildDirectory(dir);
      await writeFile(join(work, 'file'), text);
      await publish(work, target);
    }
    assert.equal(await readFile(join(target, 'file'), 'utf8'), 'first');
  });

  it('reports a publication that fails for another reason', async () => {
    await assert.rejects(publish(join(dir, 'absent'), join(dir, 'image')), { code: 'ENOENT' });
  });

  it('removes the oldest finished directories and none that is being built', async () => {
    for (const [name, time] of [
      ['old', 1000],
      ['new', 3000],
      ['middle', 2000],
    ] as const) {
      await mkdir(join(dir, name));
      await utimes(join(dir, name), time, time);
    }
    const building = basename(await buildDirectory(dir));
    await removeOlder(dir, 2);
    assert.deepEqual((await readdir(dir)).sort(), [building, 'middle', 'new'].sort());
  });
});
