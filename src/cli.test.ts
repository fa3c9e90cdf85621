import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const cli = `${import.meta.dirname}/cli.ts`;

function run(...args: string[]) {
  // KVM is not for unit tests to touch.
  const env = { ...process.env, SHADOWFERRY_ACCELERATOR: 'tcg' };
  return spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8', env });
}

test('the version is that of the package', () => {
  const { version } = JSON.parse(readFileSync(`${import.meta.dirname}/../package.json`, 'utf8'));
  const { status, stdout } = run('--version');
  assert.deepEqual([status, stdout], [0, `${version}\n`]);
});

test('help is no error; no command at all is one, and shows the help', () => {
  const help = run('--help');
  assert.equal(help.status, 0);
  assert.match(help.stdout, /^Usage: shadowferry/);
  const nothing = run();
  assert.deepEqual([nothing.status, nothing.stdout], [2, '']);
  assert.match(nothing.stderr, /^Usage: shadowferry/);
});

test('a wrong argument is one line, with what to do, on stderr', () => {
  const { status, stdout, stderr } = run('doctor', '--nope');
  assert.deepEqual([status, stdout], [2, '']);
  assert.match(stderr, /^shadowferry: command line: unknown option '--nope' \(INPUT_FIELD\)\n {2}\S.*\n$/);
});

test('with --json an error is one line of JSON on stdout', () => {
  const { status, stdout, stderr } = run('doctor', '--nope', '--json');
  assert.deepEqual([status, stderr], [2, '']);
  const { type, code, kind, fix } = JSON.parse(stdout);
  assert.deepEqual([type, code, kind, typeof fix], ['error', 'INPUT_FIELD', 'input', 'string']);
});

test('doctor --json prints one object with every check, and its exit code says whether the demo can run', () => {
  const { status, stdout } = run('doctor', '--json');
  const [report, error] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(report.type, 'doctor');
  assert.ok(report.checks.length > 10);
  assert.equal(report.ok, status === 0);
  assert.equal(error === undefined, report.ok);
  assert.equal(report.ok, !report.checks.some((check: { state: string }) => check.state === 'missing'));
});

test('a QEMU that does not start is named', () => {
  const { status, stdout, stderr } = run('doctor', '--qemu', '/nowhere/qemu');
  assert.equal(status, 4);
  assert.match(stdout, /✖ qemu +\/nowhere\/qemu is missing on this machine/);
  assert.match(stderr, /\(MACHINE_LACKS\)/);
});
