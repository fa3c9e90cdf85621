import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { type AgentShell, chooseAccess, GuestAccess, GuestAccessSpec } from './access.ts';
import type { GuestShell } from './shell.ts';

const ssh = { address: '10.0.0.5', identityFile: '/k/id', knownHostsFile: '/k/known' };
const agentOnly = GuestAccessSpec.parse({});
const both = GuestAccessSpec.parse({ ssh });
const able = { answers: true, version: '7.2', disabled: [] } as const;
const unable = { answers: true, version: '7.2', disabled: ['guest-exec'] } as const;
const silent = { answers: false } as const;

describe('the way into a guest', () => {
  it('is the agent where it may run programs', () => {
    assert.equal(chooseAccess('v', agentOnly, able).action, 'agent');
    assert.equal(chooseAccess('v', both, able).action, 'agent');
  });

  it('is SSH where the agent may not, or does not answer, and says so', () => {
    assert.deepEqual(chooseAccess('v', both, unable), {
      action: 'ssh',
      reason: "guest-exec is disabled in the guest's agent (7.2)",
    });
    assert.match(chooseAccess('v', both, silent).reason, /does not answer/);
  });

  it('is what the user asks for', () => {
    assert.equal(chooseAccess('v', GuestAccessSpec.parse({ way: 'ssh', ssh }), able).action, 'ssh');
    assert.equal(chooseAccess('v', GuestAccessSpec.parse({ way: 'agent', ssh }), able).action, 'agent');
    assert.throws(
      () => chooseAccess('v', GuestAccessSpec.parse({ way: 'agent', ssh }), unable),
      /no way into/,
    );
    assert.equal(GuestAccessSpec.safeParse({ way: 'ssh' }).success, false);
  });

  it('is an error that says how to make one, where there is none', () => {
    assert.throws(
      () => chooseAccess('web1', agentOnly, unable),
      (error: unknown) =>
        error instanceof ShadowferryError &&
        error.code === 'GUEST_ACCESS' &&
        /web1.*guest-exec is disabled/.test(error.message) &&
        /allow-rpcs/.test(error.fix),
    );
  });
});

function fakeShell(name: string, said: string[]): GuestShell {
  return {
    name,
    exec: async (argv) => {
      said.push(`${name}: ${argv.join(' ')}`);
      return { code: 0, stdout: '', stderr: '', truncated: false };
    },
    waitReady: async () => {
      said.push(`${name}: ready`);
    },
    close: async () => {
      said.push(`${name}: closed`);
    },
  };
}

function fakeAgent(said: string[], info: AgentShell['info']): AgentShell {
  const shutDown = async () => {
    said.push('agent: shut down');
  };
  return { ...fakeShell('agent', said), info, shutDown };
}

describe('a guest', () => {
  it('is asked once which way it can be reached', async () => {
    const said: string[] = [];
    let asked = 0;
    const agent = fakeAgent(said, async () => {
      asked += 1;
      return { version: '7.2', commands: ['guest-ping'] };
    });
    const guest = new GuestAccess({ vm: 'web1', spec: both, agent, ssh: fakeShell('ssh', said) });
    await guest.waitReady({ signal: AbortSignal.timeout(1000) });
    await guest.exec(['id']);
    await guest.close();
    assert.equal(asked, 1);
    assert.deepEqual(said, ['ssh: ready', 'ssh: id', 'agent: closed', 'ssh: closed']);
  });

  it('whose agent is silent is reached by SSH, or not at all', async () => {
    const said: string[] = [];
    const agent = fakeAgent(said, async () => {
      throw new ShadowferryError('AGENT_SILENT', { command: 'guest-info', ms: 3000 });
    });
    const guest = new GuestAccess({ vm: 'web1', spec: both, agent, ssh: fakeShell('ssh', said) });
    await guest.exec(['id']);
    assert.deepEqual(said, ['ssh: id']);
    const alone = new GuestAccess({ vm: 'web1', spec: agentOnly, agent, ssh: undefined });
    await assert.rejects(alone.exec(['id']), /did not answer guest-info/);
  });
});
