import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { deadline } from '../base/deadline.ts';
import { findProgram } from '../base/find-program.ts';
import { leaveBehind, leftMark } from './left-behind.ts';
import type { DiskTarget } from './model.ts';
import { dropTarget, keepTarget, makeTarget } from './target.ts';
import { targetFacts } from './target-facts.ts';

const skip = findProgram('qemu-img') === undefined ? 'qemu-img is missing on this machine' : false;
const soon = () => deadline('a test', 20_000);
const of = { host: 'beta', vm: 'web1', migration: 'm-1' };
const mark = { vm: 'web1', disk: 'root', migration: 'm-0', to: 'alpha', at: '2026-01-01T00:00:00Z' };

function setUp(t: TestContext): { directory: string; target: DiskTarget } {
  const directory = mkdtempSync(join(tmpdir(), 'sf-target-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'root.raw');
  const size = { virtualBytes: 64 * 1024 ** 2, replaces: false };
  return { directory, target: { id: 'root', path, format: 'raw', at: 'file', ...size } };
}

describe('an image that a disk comes to', { skip }, () => {
  test('is made sparse, and taken away again with all that belongs to it', async (t) => {
    const { directory, target } = setUp(t);
    await makeTarget(target, of, soon());
    const { size, blocks } = statSync(target.path);
    assert.equal(size, target.virtualBytes);
    assert.ok(blocks * 512 < 1024 ** 2);
    await makeTarget(target, of, soon()); // a later process begins anew
    await dropTarget(target.path, of.migration);
    await dropTarget(target.path, of.migration);
    assert.deepEqual(readdirSync(directory), []);
  });

  test('stays once it is kept, whoever asks to take it away', async (t) => {
    const { directory, target } = setUp(t);
    await makeTarget(target, of, soon());
    await keepTarget(target.path, of.migration);
    await dropTarget(target.path, of.migration);
    assert.deepEqual(readdirSync(directory), ['root.raw']);
  });

  test('never takes the place of a file that somebody put there, and never removes that', async (t) => {
    const { directory, target } = setUp(t);
    writeFileSync(target.path, 'precious');
    await assert.rejects(makeTarget(target, of, soon()), { code: 'DISK_TARGET_EXISTS' });
    await assert.rejects(makeTarget({ ...target, replaces: true }, of, soon()), {
      code: 'DISK_TARGET_EXISTS',
    });
    await dropTarget(target.path, of.migration);
    assert.deepEqual(readdirSync(directory), ['root.raw']);
    assert.equal(statSync(target.path).size, 8);
  });

  test('replaces the one that the disk left behind', async (t) => {
    const { directory, target } = setUp(t);
    writeFileSync(target.path, 'out of date');
    leaveBehind(target, 'keep', mark);
    assert.equal(leftMark(target.path)?.to, 'alpha');
    const { leftBy } = await targetFacts(target.path, undefined, soon());
    assert.deepEqual(leftBy, { vm: 'web1', disk: 'root', migration: 'm-0', intact: true });
    await makeTarget({ ...target, replaces: true }, of, soon());
    await keepTarget(target.path, of.migration);
    assert.deepEqual(readdirSync(directory), ['root.raw']);
    assert.equal(statSync(target.path).size, target.virtualBytes);
    leaveBehind(target, 'remove', mark);
    leaveBehind(target, 'remove', mark);
    assert.ok(!existsSync(target.path));
  });

  test('is the one that the disk left, where only what was written since shall go there', async (t) => {
    const { directory, target } = setUp(t);
    await makeTarget(target, of, soon());
    await keepTarget(target.path, of.migration);
    leaveBehind(target, 'keep', mark);
    const again = { ...target, replaces: true, since: 'm-0' };
    await makeTarget(again, of, soon());
    writeFileSync(target.path, 'copied', { flag: 'r+' });
    // taken back: what was copied is no harm, as it is copied again
    await dropTarget(target.path, of.migration);
    assert.deepEqual(readdirSync(directory), ['root.raw', 'root.raw.left-behind']);
    await makeTarget(again, of, soon());
    await keepTarget(target.path, of.migration);
    assert.deepEqual(readdirSync(directory), ['root.raw']);
    leaveBehind(target, 'keep', mark);
    writeFileSync(target.path, 'somebody', { flag: 'r+' });
    await assert.rejects(makeTarget(again, of, soon()), { code: 'DISK_TARGET_REFUSED' });
    leaveBehind(target, 'keep', mark);
    truncateSync(target.path, 4096);
    leaveBehind(target, 'keep', mark);
    await assert.rejects(makeTarget(again, of, soon()), { code: 'DISK_SIZE_DIFFERS' });
  });

  test('goes only where the host keeps disks', async (t) => {
    const { directory } = setUp(t);
    mkdirSync(join(directory, 'disks'));
    const allowed = [join(directory, 'disks')];
    const facts = (path: string) => targetFacts(path, allowed, soon());
    const inside = await facts(join(directory, 'disks', 'x'));
    assert.equal(inside.refused, undefined);
    assert.ok((inside.freeBytes ?? 0) > 0);
    assert.match((await facts(join(directory, 'x'))).refused ?? '', /it keeps disks in/);
    assert.match((await facts(`${directory}/disks/../x`)).refused ?? '', /without "\.\."/);
    assert.match((await facts('relative')).refused ?? '', /path from the root/);
    assert.match((await facts(join(directory, 'disks', 'none', 'x'))).refused ?? '', /no directory/);
    assert.equal((await targetFacts(join(directory, 'disks'), undefined, soon())).what, 'other');
  });
});
