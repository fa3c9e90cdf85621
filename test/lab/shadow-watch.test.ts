/** A watch through a migration, and through the death of the device. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { labAccess } from '../../src/lab/access.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { createStandingLab } from '../../src/lab/standing.ts';
import { disconnectVm } from '../../src/migration/vm.ts';
import { type CliProcess, makeState, runCli, startCli } from './cli-process.ts';
import { CACHE, MIGRATION_MS } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';
import { changedKey, historyIn, isType, LIMIT } from './watching.ts';

const state = makeState();
let lab: Lab;
let watching: CliProcess | undefined;

/** Runs a shell script in the guest, as one who only looks. */
async function inGuest(script: string): Promise<void> {
  const signal = deadline('the guest agent', 60_000);
  await labAccess(lab, 'web1').look(signal, async ({ agent }) => {
    await agent.waitReady({ signal });
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    await agent.exec(['/bin/sh', '-s'], { input: `set -u\n${script}`, env, check: true });
  });
}

const startWatch = () => {
  watching = startCli(state, ['shadow', 'watch', 'web1', '--json']);
  return watching;
};
const history = () => historyIn(state);

describe('shadow watch', needsNetworkRights(), () => {
  before(async () => {
    lab = await createStandingLab(state, {
      cacheDir: CACHE,
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      log: console.log,
    });
    await disconnectVm(await lab.boot());
  });

  after(async () => {
    watching?.kill('SIGKILL');
    lab?.close();
    await runCli(state, ['lab', 'down']);
    rmSync(state, { recursive: true, force: true });
  });

  test('where the VM goes the watch follows', { timeout: 3 * MIGRATION_MS }, async () => {
    const watch = startWatch();
    await watch.line(isType('watching'));
    const moved = await runCli(state, ['migrate', 'web1', '--to', 'b']);
    assert.equal(moved.code, 0, moved.stdout + moved.stderr);
    await watch.line((line) => isType('watching')(line) && line.includes('"host":"b"'));
    const last = (await history()).at(-1);
    assert.deepEqual([last?.label, last?.by], ['2.0.0.0', 'settle']);
    await watch.line(changedKey('hardware.driver'));
    await inGuest('ip link set dev lan0 mtu 1444');
    // of the second device; what settles by itself after a move may have made a version of its own before
    await watch.line((line) => changedKey('link.mtu')(line) && line.includes('"label":"2.'));
  });

  test('a device that dies is told, and its last state is known', LIMIT, async () => {
    assert.ok(watching);
    const driver = '/sys/bus/pci/drivers/vmxnet3';
    await inGuest(`cd ${driver}; echo 0000:* >unbind`);
    const versions = await history();
    const last = `"last":{"nic":"net0","seq":${versions.at(-1)?.seq},`;
    await watching.line((line) => isType('gone')(line) && line.includes(last));
    const { code, stdout } = await runCli(state, ['shadow', 'show', 'web1']);
    assert.equal(code, 0);
    assert.match(stdout, /THE LAST THAT IS KNOWN: the guest lacks a network device/);
    assert.match(stdout, /driver +vmxnet3/);
    assert.equal((await history()).length, versions.length);
  });
});
