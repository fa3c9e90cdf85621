import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import { LocalShell } from './local.ts';

const shell = new LocalShell();
const hasCode = (code: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === code;

test('a command gets its input, its arguments and only the environment it is given', async () => {
  const script = 'cat; printf "%s|" "$@"; env | grep -c SECRET; exit 3';
  process.env.SECRET_OF_OURS = '1';
  const env = { PATH: process.env.PATH ?? '/usr/bin:/bin' };
  const argv = ['/bin/sh', '-c', script, 'sh', 'a b', "it's"] as const;
  const result = await shell.exec(argv, { input: 'in;', env });
  assert.deepEqual(result, { code: 3, stdout: "in;a b|it's|0\n", stderr: '', truncated: false });
});

test('with check a failure is an error that says what the command said', async () => {
  const failing = shell.exec(['/bin/sh', '-c', 'echo why >&2; exit 5'], { check: true });
  await assert.rejects(failing, (error: unknown) => {
    assert.ok(error instanceof ShadowferryError);
    assert.equal(error.code, 'GUEST_COMMAND_FAILED');
    assert.match(error.message, /why/);
    return true;
  });
});

test('a program that is not there has the exit code of a shell', async () => {
  const { code } = await shell.exec(['/does/not/exist']);
  assert.equal(code, 127);
});

test('one killed by a signal has 128 and the number', async () => {
  const { code } = await shell.exec(['/bin/sh', '-c', 'kill -9 $$']);
  assert.equal(code, 137);
});

test('one that runs too long is ended, though a child of it holds its output open', async () => {
  const argv = ['/bin/sh', '-c', 'sleep 5 & wait'] as const;
  await assert.rejects(shell.exec(argv, { timeoutMs: 100 }), hasCode('DEADLINE'));
});

test('a signal that aborts ends it with its reason', async () => {
  const signal = deadline('the test', 50);
  await assert.rejects(shell.exec(['/bin/sleep', '5'], { signal }), hasCode('DEADLINE'));
});
