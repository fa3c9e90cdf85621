import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { AgentClient } from './client.ts';

const AGENT = 'qemu-ga';
const skip =
  spawnSync(AGENT, ['--version']).error === undefined ? false : `${AGENT} is missing on this machine`;

const soon = (ms = 20_000) => deadline('a test', ms);

/** Runs the real agent on this machine over a unix socket instead of a virtio port. */
async function setUp(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'agent-real-'));
  const path = join(directory, 'agent');
  const child = spawn(AGENT, ['-m', 'unix-listen', '-p', path, '-t', directory], { stdio: 'ignore' });
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const died = exited.then((code) => Promise.reject(new Error(`${AGENT} ended with ${code}`)));
  died.catch(() => {});
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
    await rm(directory, { recursive: true });
  });
  const open = async () => {
    const connecting = AgentClient.connect({ path, name: 'real agent', signal: soon() });
    const agent = await Promise.race([connecting, died]);
    t.after(() => agent.close());
    return agent;
  };
  return { open, path, directory };
}

describe('a real guest agent', { skip }, () => {
  it('is in step, tells its commands, runs programs and moves files', async (t) => {
    const { open, directory } = await setUp(t);
    const agent = await open();
    await agent.waitReady({ signal: soon() });
    assert.ok((await agent.info()).commands.includes('guest-exec'));

    const echoed = await agent.exec(['cat'], { input: 'Grüße\n' });
    assert.deepEqual(echoed, { code: 0, stdout: 'Grüße\n', stderr: '', truncated: false });
    const failed = await agent.exec(['/bin/sh', '-c', 'echo "$X" >&2; exit 3'], { env: { X: 'a b' } });
    assert.deepEqual(failed, { code: 3, stdout: '', stderr: 'a b\n', truncated: false });
    assert.equal((await agent.exec(['/bin/sh', '-c', 'kill -9 $$'])).code, 137);
    assert.equal((await agent.exec(['no-such-program'])).code, 127);
    assert.equal((await agent.exec([directory])).code, 126);

    const file = join(directory, 'a file');
    const data = Buffer.from(Array.from({ length: 400_000 }, (_, index) => index % 251));
    await agent.writeFile(file, data, { mode: 0o750 });
    assert.deepEqual(await readFile(file), data);
    assert.equal((await stat(file)).mode & 0o777, 0o750);
    assert.deepEqual(await agent.readFile(file), data);
    await agent.writeFile(file, 'private');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.ok((await agent.readFile('/proc/self/status')).length > 0);
    await assert.rejects(
      agent.readFile(join(directory, 'none')),
      (error) => error instanceof ShadowferryError && error.code === 'AGENT_REFUSED',
    );
  });

  it('forgets half a request of an earlier client', async (t) => {
    const { open, path } = await setUp(t);
    await (await open()).close();
    const rude = connect(path);
    rude.end('{"execute": "guest-');
    await once(rude, 'close');
    const agent = await open();
    await agent.ping();
  });
});
