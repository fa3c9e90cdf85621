/** Starting, a second start, stopping, and what systemd is told. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { findProgram } from '../base/find-program.ts';
import { ShadowferryError } from '../errors.ts';
import { scratch, send, testDaemon } from './fixture.test-data.ts';
import { makeNotifier } from './notify.ts';

const CLI = join(dirname(import.meta.dirname), 'cli.ts');
const code = (wanted: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === wanted;

test('a second daemon on the same state is refused, and does not disturb the first; afterwards there may be one', async (t) => {
  const first = await testDaemon(t);
  const settings = { socket: { path: join(first.directory, 'run', 'other.sock') } };
  await assert.rejects(testDaemon(t, settings, {}, first.directory), code('DAEMON_RUNS'));
  assert.equal((await first.send('/v1/health')).status, 200);
  await first.daemon.stop();
  assert.ok(!existsSync(first.socket), 'the socket goes with it');
  const second = await testDaemon(t, {}, {}, first.directory);
  assert.equal((await second.send('/v1/health')).status, 200);
});

test('a start that fails leaves nothing: the next one succeeds', async (t) => {
  const directory = scratch(t);
  await assert.rejects(
    testDaemon(t, { socket: { path: '/dev/null/x.sock' } }, {}, directory),
    code('SOCKET_UNSAFE'),
  );
  const { send: ask } = await testDaemon(t, {}, {}, directory);
  assert.equal((await ask('/v1/health')).status, 200);
});

test('the socket has its permissions, and the state is for its owner alone', async (t) => {
  const { socket, state } = await testDaemon(t);
  assert.equal(statSync(socket).mode & 0o777, 0o660);
  assert.equal(statSync(state).mode & 0o777, 0o700);
});

test('stopping answers what has begun, ends streams, and takes nothing new', async (t) => {
  let finish = () => {};
  const begun = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const examine = async () => {
    finish();
    await held;
    return { checks: [] };
  };
  const { daemon, send: ask, socket } = await testDaemon(t, {}, { examine, graceMs: 60_000 });
  const running = ask('/v1/hosts/alpha/examinations', { method: 'POST' });
  await begun;
  const stream = ask('/v1/events');
  const stopped = daemon.stop();
  await assert.rejects(send(socket, '/v1/health'));
  release();
  assert.equal((await running).status, 201);
  await stream.catch(() => {});
  await stopped;
});

test('the real program: killed, its lock and its socket are no hindrance; SIGTERM ends it with 0', async (t) => {
  const directory = scratch(t);
  mkdirSync(join(directory, 'run'), { mode: 0o700 });
  const socket = join(directory, 'run', 'd.sock');
  const config = join(directory, 'c.yaml');
  writeFileSync(config, `host: alpha\nstate: ${directory}/state\nsocket: { path: ${socket} }\n`);
  const start = async () => {
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', CLI, 'daemon', '--config', config],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    t.after(() => child.kill('SIGKILL'));
    let log = '';
    for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
      log += String(chunk);
      if (log.includes('the daemon answers')) break;
    }
    child.stdout.resume();
    return child;
  };
  const first = await start();
  first.kill('SIGKILL');
  await once(first, 'exit');
  assert.ok(existsSync(socket), 'it was left');
  const second = await start();
  assert.equal((await send(socket, '/v1/health')).status, 200);
  const list = spawnSync(process.execPath, [CLI, 'migrations', '--host', socket, '--json'], {
    encoding: 'utf8',
  });
  assert.deepEqual(JSON.parse(list.stdout), { type: 'migrations', migrations: [] });
  const asked = spawnSync(process.execPath, [CLI, 'explain', '--host', socket, 'm0', '--json'], {
    encoding: 'utf8',
  });
  assert.deepEqual([asked.status, JSON.parse(asked.stdout).code], [2, 'UNKNOWN_MIGRATION']);
  const local = spawnSync(process.execPath, [CLI, '--host', socket, 'doctor', '--json'], {
    encoding: 'utf8',
  });
  assert.match(JSON.parse(local.stdout).message, /works on this machine only/);
  second.kill('SIGTERM');
  assert.deepEqual(await once(second, 'exit'), [0, null]);
});

test('systemd is told when it is ready, that it lives, and when it stops', async (t) => {
  const directory = scratch(t);
  const log = join(directory, 'told');
  const program = join(directory, 'systemd-notify');
  writeFileSync(program, `#!/bin/sh\nprintf '%s\\n' "$*" >>'${log}'\n`);
  chmodSync(program, 0o755);
  const failures: string[] = [];
  const env = { PATH: `${directory}:${process.env.PATH}`, NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '300000' };
  const notifier = makeNotifier(env, (why) => failures.push(why));
  await notifier.ready('well');
  const lived = () => readFileSync(log, 'utf8').includes('WATCHDOG=1');
  const deadline = Date.now() + 20_000;
  while (!lived() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  await notifier.stopping();
  notifier.close();
  const told = readFileSync(log, 'utf8');
  assert.match(told, /^--ready --status=well MAINPID=\d+\n(WATCHDOG=1\n)+(STOPPING=1\n)/);
  assert.deepEqual(failures, []);
  assert.deepEqual(
    await makeNotifier({}, assert.fail).ready('x'),
    undefined,
    'without systemd nothing is done',
  );
});

test('the unit is one that systemd takes', (t) => {
  const analyze = findProgram('systemd-analyze');
  if (analyze === undefined) return t.skip('no systemd-analyze here');
  const unit = join(dirname(dirname(import.meta.dirname)), 'packaging', 'shadowferry.service');
  const directory = scratch(t);
  // verified with a program that is there
  const text = readFileSync(unit, 'utf8').replaceAll('/usr/bin/shadowferry', '/bin/true');
  const copy = join(directory, 'shadowferry.service');
  writeFileSync(copy, text);
  const { status, stderr } = spawnSync(analyze, ['verify', '--man=no', copy], { encoding: 'utf8' });
  const ours = stderr.split('\n').filter((line) => line.includes('shadowferry'));
  assert.deepEqual([status, ours], [0, []]);
});
