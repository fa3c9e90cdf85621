import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFifoPair } from './fifo-pair.ts';

test('lines go both ways to a program that comes later, and nothing is left', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'sf-fifo-'));
  try {
    const pair = await makeFifoPair(parent);
    pair.stream.setEncoding('utf8');
    const heard = new Promise<string>((resolve) => pair.stream.once('data', resolve));
    pair.stream.write('first\n'); // before anybody reads
    const script = 'read -r line <"$1"; printf "got %s\\n" "$line" >"$2"';
    const child = spawn('/bin/sh', ['-c', script, 'sh', pair.toProgram, pair.fromProgram]);
    assert.equal(await heard, 'got first\n');
    await new Promise((resolve) => child.once('close', resolve));
    await pair[Symbol.asyncDispose]();
    assert.equal(existsSync(pair.toProgram), false);
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
});
