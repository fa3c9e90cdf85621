import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Qmp } from './client.ts';
import { answerTo, standInForDestination, takeCommand } from './stand-in.ts';

const BLOCKS = new Map([['pc.ram', 100 * 4096]]);

function command(number: number, data: Buffer): Buffer {
  const head = Buffer.from([8, 0, 0, 0, 0]);
  head.writeUInt16BE(number, 1);
  head.writeUInt16BE(data.length, 3);
  return Buffer.concat([head, data]);
}
const askBitmap = (name: string) =>
  command(10, Buffer.concat([Buffer.from([name.length]), Buffer.from(name)]));

test('a command is taken when all of it is there', () => {
  const whole = Buffer.concat([askBitmap('pc.ram'), command(9, Buffer.alloc(0))]);
  for (let cut = 0; cut < 12; cut += 1) assert.equal(takeCommand(whole.subarray(0, cut)), undefined);
  const taken = takeCommand(whole);
  assert.equal(taken?.found.command, 10);
  assert.equal(takeCommand(taken?.rest ?? Buffer.alloc(0))?.found.command, 9);
});

test('what is no command is not guessed at', () => {
  assert.throws(() => takeCommand(Buffer.from([1, 2, 3])), /no command/);
  assert.throws(() => answerTo({ command: 10, data: Buffer.from('\x03odd') }, BLOCKS), /"odd"/);
});

test('the bitmap of a block is as long as QEMU expects, and empty', () => {
  const answer = answerTo({ command: 10, data: Buffer.from('\x06pc.ram') }, BLOCKS);
  assert.equal(answer.readUInt16BE(0), 5);
  const bitmap = answer.subarray(4 + 7);
  assert.equal(bitmap.readBigUInt64BE(0), 16n); // 100 pages: 13 bytes, in words of 8
  assert.deepEqual(bitmap.subarray(8, 24), Buffer.alloc(16));
  assert.equal(bitmap.readBigUInt64BE(24), 0x0123456789abcdefn);
  assert.equal(bitmap.length, 32);
});

/** A QEMU that connects where it is told to, and says these bytes. */
function fakeQemu(says: Buffer, heard: Buffer[]): Qmp {
  return {
    execute: async (name: string, args?: Readonly<Record<string, unknown>>) => {
      if (name === 'human-monitor-command') return '  pc.ram  4 KiB  0x0 0x64000 0x64000\n';
      const socket = createConnection(String(args?.uri).replace('unix:', ''));
      socket.on('error', () => {});
      socket.on('data', (chunk) => heard.push(Buffer.from(chunk)));
      socket.write(says);
      return {};
    },
  } as unknown as Qmp;
}

function inDirectory<T>(act: (path: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'sf-stand-in-'));
  return act(join(directory, 's')).finally(() => rmSync(directory, { recursive: true }));
}

test('the act runs once the source was told to go on', () =>
  inDirectory(async (path) => {
    const says = Buffer.concat([askBitmap('pc.ram'), command(9, Buffer.alloc(0)), Buffer.from([0, 1, 2])]);
    const heard: Buffer[] = [];
    let acted = 0;
    await standInForDestination(fakeQemu(says, heard), path, AbortSignal.timeout(5_000), async () => {
      acted += 1;
    });
    assert.equal(acted, 1);
  }));

test('a QEMU that speaks another language is an error, and nothing is done', () =>
  inDirectory(async (path) => {
    const act = async () => assert.fail('acted');
    await assert.rejects(
      standInForDestination(fakeQemu(Buffer.from([0x51]), []), path, AbortSignal.timeout(5_000), act),
      /MIGRATION_FAILED|does not leave/,
    );
  }));
