import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { readExit, remoteCommand, SshShell, SshTarget, sshOptions } from './ssh.ts';

const target = SshTarget.parse({ address: '10.0.0.5', identityFile: '/k/id', knownHostsFile: '/k/known' });

const failsWith = (code: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ShadowferryError);
  assert.equal(error.code, code);
  assert.match(error.message, text);
  return true;
};

describe('an SSH target', () => {
  it('cannot be mistaken for an option', () => {
    for (const wrong of [
      { address: '-oProxyCommand=id' },
      { address: 'a b' },
      { user: '-l' },
      { user: 'a;b' },
    ]) {
      assert.equal(SshTarget.safeParse({ ...target, ...wrong }).success, false, JSON.stringify(wrong));
    }
    assert.equal(SshTarget.safeParse({ ...target, address: 'fe80::1%eth0' }).success, true);
  });

  it('is reached by keys only, and only when its host key is known', () => {
    const words = sshOptions(target, '/tmp/c').join(' ');
    for (const part of ['BatchMode=yes', 'StrictHostKeyChecking=yes', 'PasswordAuthentication=no']) {
      assert.ok(words.includes(part), part);
    }
  });
});

describe('what the login shell of the guest is given', () => {
  it('is one word for sh, whatever is in it', async () => {
    const argv = ['printf', '%s|', 'a b', "it's", '$(id)', '`id`', '!x'] as const;
    const shell = new SshShell({ target, program: fake });
    const result = await shell.exec([...argv], { env: { PATH: '/usr/bin:/bin' } });
    assert.equal(result.stdout, "a b|it's|$(id)|`id`|!x|");
    await shell.close();
  });

  it('goes through sudo, which asks nothing, for another user than root', () => {
    assert.match(remoteCommand(['id'], { user: 'debian' }), /sudo -n -- id/);
  });
});

describe('how a command ended', () => {
  it('is told apart from how ssh ended', () => {
    assert.deepEqual(readExit('words\n\nshadowferry-exit:255\n'), { code: 255, stderr: 'words\n' });
    assert.deepEqual(readExit('\nshadowferry-exit:0\n'), { code: 0, stderr: '' });
    assert.equal(readExit('Permission denied (publickey).'), undefined);
    assert.equal(readExit('\nshadowferry-exit:'), undefined);
  });
});

let directory: string;
let fake: string;

/** A client that does what the real one does: gives its last word to the user's shell. */
const FAKE = `#!/bin/sh
case "$*" in
  *' -O exit '* | '-O exit '*) exit 0 ;;
esac
for last; do :; done
exec sh -c "$last"
`;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sf-fake-ssh-'));
  fake = await program('ssh', FAKE);
});

after(() => rm(directory, { recursive: true, force: true }));

async function program(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, text);
  await chmod(path, 0o755);
  return path;
}

describe('a guest by SSH', () => {
  it('gives input, output, errors and exit code as the agent does', async () => {
    await using shell = disposable(new SshShell({ target, program: fake }));
    const script = 'cat; echo more >&2; exit 255';
    const env = { PATH: '/usr/bin:/bin' };
    const result = await shell.exec(['sh', '-c', script], { input: 'in', env });
    assert.deepEqual(result, { code: 255, stdout: 'in', stderr: 'more\n', truncated: false });
    await assert.rejects(
      shell.exec(['sh', '-c', script], { check: true }),
      failsWith('GUEST_COMMAND_FAILED', /exit 255.*more/),
    );
  });

  it('says what ssh said when it lets nobody in', async () => {
    const refusing = await program(
      'refusing',
      '#!/bin/sh\necho "Host key verification failed." >&2\nexit 255\n',
    );
    await using shell = disposable(new SshShell({ target, program: refusing }));
    await assert.rejects(
      shell.exec(['true']),
      failsWith('SSH_FAILED', /root@10.0.0.5.*Host key verification/),
    );
    const signal = AbortSignal.timeout(300);
    await assert.rejects(
      shell.waitReady({ signal }),
      failsWith('SSH_FAILED', /Host key verification|in time/),
    );
  });

  it('says that there is no client', async () => {
    await using shell = disposable(new SshShell({ target, program: join(directory, 'none') }));
    await assert.rejects(shell.exec(['true']), failsWith('SSH_FAILED', /no ssh on this machine/));
  });

  it('ends a command that takes too long', async () => {
    await using shell = disposable(new SshShell({ target, program: fake }));
    await assert.rejects(shell.exec(['sleep', '5'], { timeoutMs: 100 }), failsWith('DEADLINE', /sleep 5/));
  });

  it('is waited for until it lets us in', async () => {
    const later = await program(
      'later',
      `#!/bin/sh\nif [ ! -e "$0.2" ]; then [ -e "$0.1" ] && : >"$0.2"; : >"$0.1"; echo refused >&2; exit 255; fi\n${FAKE.slice(FAKE.indexOf('\n') + 1)}`,
    );
    await using shell = disposable(new SshShell({ target, program: later }));
    await shell.waitReady({ signal: AbortSignal.timeout(10_000) });
  });
});

function disposable(shell: SshShell): SshShell & AsyncDisposable {
  return Object.assign(shell, { [Symbol.asyncDispose]: () => shell.close() });
}
