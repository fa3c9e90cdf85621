import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { completeTree, guestFiles, ownEntries } from './root.ts';
import {
  GUEST_SERVICES,
  PATTERN_SIZE,
  patternBlock,
  patternByte,
  READY_LINE,
  SETUP_FW_CFG,
} from './services.ts';

const text = async (path: string) => {
  const file = (await guestFiles()).find((candidate) => candidate.path === path);
  assert.ok(file, `${path} is in the guest`);
  return Buffer.from(file.content).toString('utf8');
};

describe('the guest root', () => {
  it('puts every directory before what is in it', async () => {
    const paths = completeTree(ownEntries(['ls'], await guestFiles())).map(({ path }) => path);
    for (const path of paths) {
      const parent = path.split('/').slice(0, -1).join('/');
      if (parent) assert.ok(paths.indexOf(parent) < paths.indexOf(path), `${parent} before ${path}`);
    }
    assert.equal(new Set(paths).size, paths.length);
  });

  it("has Debian's shell, so that iproute2 wins over busybox's ip", () => {
    const shell = ownEntries([], []).find(({ path }) => path === 'usr/bin/sh');
    assert.deepEqual(shell, { type: 'link', path: 'usr/bin/sh', target: 'dash' });
    const paths = ownEntries(['ip', 'ls', 'sh', 'tc'], []).map(({ path }) => path);
    assert.deepEqual(
      ['usr/bin/ip', 'usr/bin/tc', 'usr/bin/ls'].map((path) => paths.includes(path)),
      [false, false, true],
    );
    assert.equal(paths.filter((path) => path === 'usr/bin/sh').length, 1);
  });

  it('starts every service on the port the lab knows, and waits for each before it says ready', async () => {
    const inittab = await text('etc/inittab');
    const announce = await text('usr/lib/shadowferry/announce');
    const waited = /^for port in (.*); do$/m
      .exec(announce)?.[1]
      ?.split(' ')
      .map((port) => Number.parseInt(port, 16));
    assert.deepEqual(waited?.sort(), Object.values(GUEST_SERVICES).sort());
    for (const port of [GUEST_SERVICES.echo, GUEST_SERVICES.sink, GUEST_SERVICES.source]) {
      assert.match(inittab, new RegExp(`TCP6-LISTEN:${port},ipv6-v6only=0`));
    }
    assert.ok(announce.includes(READY_LINE));
    assert.ok((await text('usr/lib/shadowferry/rc')).includes(`by_name/${SETUP_FW_CFG}/raw`));
  });
});

describe('the pattern of the source service', () => {
  it('is the same byte at a position of the stream and in the repeated block', () => {
    const block = patternBlock();
    assert.equal(block.length, PATTERN_SIZE);
    for (const position of [0, 1, 255, 256, 65535, 65536, 65536 * 3 + 777, 2 ** 40 + 12345]) {
      assert.equal(patternByte(position), block[position % PATTERN_SIZE]);
    }
    assert.deepEqual([...block.slice(0, 3)], [0, 7, 14]);
    assert.equal(patternByte(256), 13);
  });
});
