/** A guest whose agent may not run programs, as on RHEL: reached by SSH, or refused with the way out. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exec } from '../../src/base/exec.ts';
import { findProgram } from '../../src/base/find-program.ts';
import { shellQuote } from '../../src/base/shell-quote.ts';
import { SshTarget } from '../../src/guest/ssh.ts';
import { recordSpec } from '../../src/hypervisor/qemu/process.ts';
import type { VmSpec } from '../../src/hypervisor/qemu/spec.ts';
import { GUEST_ADDRESS } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { Probes } from '../../src/lab/probe/probes.ts';
import { migrateInLab } from '../../src/lab/scenario.ts';
import { parseRequest } from '../../src/migration/request.ts';
import { disconnectVm, type RunningVm } from '../../src/migration/vm.ts';
import {
  assertSurvived,
  CACHE,
  lookIntoGuest,
  MIGRATION_MS,
  moveOver,
  watchConnections,
} from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const MARK = 'host key: ';

/** Only in the guest's memory: an agent that may not run programs, and an SSH server with keys of its own. */
const setUp = (publicKey: string) => `
mkdir -p /etc/qemu /etc/dropbear /root/.ssh
chmod 700 /root /root/.ssh
printf '[general]\\nblacklist=guest-exec,guest-exec-status,guest-file-open\\n' >/etc/qemu/qemu-ga.conf
printf '%s\\n' ${shellQuote(publicKey)} >/root/.ssh/authorized_keys
key=$(dropbearkey -t ed25519 -f /etc/dropbear/dropbear_ed25519_host_key | grep '^ssh-ed25519 ')
printf '%s%s\\n' '${MARK}' "$key" >/dev/ttyS0
dropbear -s -r /etc/dropbear/dropbear_ed25519_host_key
`;

const rights = needsNetworkRights();
const skip = rights.skip || (findProgram('ssh') === undefined ? 'needs ssh' : false);

describe('a guest whose agent may not run programs', { skip }, () => {
  let lab: Lab;
  let vm: RunningVm;
  let probes: Probes;

  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: ['e1000e'], b: ['vmxnet3'] }, log: console.log });
    const keys = join(lab.directory, 'ssh');
    await mkdir(keys, { mode: 0o700 });
    const identityFile = join(keys, 'id');
    const knownHostsFile = join(keys, 'known_hosts');
    await exec(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', identityFile]);
    const publicKey = (await readFile(`${identityFile}.pub`, 'utf8')).trim();
    await writeFile(knownHostsFile, '');
    vm = await lab.boot({
      setup: { extra: setUp(publicKey) },
      access: {
        way: 'auto',
        ssh: SshTarget.parse({ address: GUEST_ADDRESS, identityFile, knownHostsFile }),
      },
      booted: async (serial) => {
        const hostKey = new RegExp(`${MARK}(ssh-ed25519 \\S+)`).exec(serial)?.[1];
        assert.ok(hostKey !== undefined, serial);
        await writeFile(knownHostsFile, `${GUEST_ADDRESS} ${hostKey}\n`);
      },
    });
    probes = await watchConnections(lab);
  });

  after(async () => {
    probes?.kill();
    if (vm !== undefined) await disconnectVm(vm);
    await lab?.dispose();
  });

  for (const continuity of ['replay', 'hold'] as const) {
    it(`moves in ${continuity} with all its connections, and the preflight says how it is reached`, {
      timeout: 2 * MIGRATION_MS,
    }, async () => {
      const { configured } = await lookIntoGuest(vm);
      const moved = await moveOver(lab, vm, { continuity });
      vm = moved.vm;
      const way = moved.result.decisions.find(({ action }) => action === 'guest by ssh');
      assert.match(way?.reason ?? '', /guest-exec and guest-exec-status are disabled in the guest's agent/);
      const look = await lookIntoGuest(vm);
      assert.deepEqual(look.configured, configured);
      assert.deepEqual(look.leftovers, []);
    });
  }

  it('kept its connections', async () => {
    assertSurvived(await probes.stop());
  });

  it('is refused without an SSH access, with what to do, and nothing is changed', async () => {
    const { spec } = vm.qemu;
    const signal = AbortSignal.timeout(MIGRATION_MS);
    const withGuest = async (guest: VmSpec['guest']): Promise<RunningVm> => {
      recordSpec(vm.qemu, { ...spec, guest });
      await disconnectVm(vm);
      return lab.find(spec.name, signal);
    };
    vm = await withGuest({ way: 'auto' });
    const request = parseRequest({ vm: spec.name, destination: vm.host.name === 'a' ? 'b' : 'a' });
    const { result } = await migrateInLab({ lab, vm, request });
    assert.equal(result.ok, false);
    assert.equal(result.error?.code, 'GUEST_ACCESS');
    assert.match(result.error?.message ?? '', /guest-exec and guest-exec-status are disabled/);
    vm = await withGuest(spec.guest);
    const look = await lookIntoGuest(vm);
    assert.deepEqual(look.leftovers, []);
  });
});
