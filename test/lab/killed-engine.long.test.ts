/** The program that drives a migration dies at any step before the commit: another takes the VM back from the journal. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { deadline } from '../../src/base/deadline.ts';
import { exec } from '../../src/base/exec.ts';
import { queryStatus } from '../../src/hypervisor/qmp/commands.ts';
import { Lab } from '../../src/lab/lab.ts';
import { LocalDestination } from '../../src/migration/destination/local-host.ts';
import type { DestinationPeer } from '../../src/migration/protocol/peer.ts';
import { recoverMigration } from '../../src/migration/recovery/recover.ts';
import { disconnectVm, isPlugged } from '../../src/migration/vm.ts';
import { inGuest, lookAtHost, NOTHING, watchConnections } from './migrating.ts';

const PROGRAM = join(import.meta.dirname, 'killed-engine-program.ts');

/** Where it dies: first the ways of the strategy that needs most, then what is the other's own. */
const POINTS = [
  ['postcopy', 'end start QEMU on the destination'],
  ['postcopy', 'begin put the program into the guest'],
  ['postcopy', 'begin release and unplug the device'],
  ['postcopy', 'end release and unplug the device'],
  ['postcopy', 'end copy memory'],
  ['postcopy', 'note asked'],
  ['precopy', 'begin copy memory'],
  ['precopy', 'note asked'],
  ['postcopy', 'full: end release and unplug the device'],
] as const;

let lab: Lab;

/** What a daemon on the destination would do: on `cancel` it ends what waits there. */
function peerOf(destination: LocalDestination, migration: string): DestinationPeer {
  let discarded = false;
  return {
    tell: async ({ kind, handOver: { vm } }) => {
      if (kind === 'cancel') {
        await destination.undo({ vm, migration }, { kind: 'end-destination', host: 'b' });
        discarded = true;
      }
      return { kind: discarded ? 'discarded' : 'receiving' };
    },
  };
}

/** Migrates in a process of its own, which must not come to an end by itself. */
async function migrateUntilKilled(strategy: string, point: string): Promise<void> {
  const args = ['--disable-warning=ExperimentalWarning', PROGRAM, lab.directory, strategy, point];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const said: string[] = [];
  child.stdout.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  const [, signal] = await once(child, 'exit');
  assert.equal(signal, 'SIGKILL', said.join(''));
}

describe('the engine is killed, and another process takes the VM back', () => {
  before(async () => {
    lab = await Lab.create({
      cacheDir: cacheDirectory(),
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      log: () => {},
    });
    // with a disk, whose locks the two QEMUs hand to each other
    const path = join(lab.directory, 'data.qcow2');
    await exec(['qemu-img', 'create', '-q', '-f', 'qcow2', path, '64M']);
    const vm = await lab.boot({ disks: [{ id: 'data', path, format: 'qcow2' }] });
    await disconnectVm(vm);
  });
  after(async () => lab?.dispose());

  for (const [strategy, point] of POINTS) {
    test(`${strategy}: at "${point}"`, async () => {
      const probes = await watchConnections(lab);
      try {
        await migrateUntilKilled(strategy, point);
        const [entry] = lab.journal.migrations({ open: true });
        assert.ok(entry);
        const { ownership, abilities, journal } = lab;
        const destination = new LocalDestination(lab.hosts.b, { ownership, abilities });
        const { result, vm } = await recoverMigration(entry, {
          ...{ ownership, abilities, journal, host: lab.hosts.a },
          ...{ destination, peer: peerOf(destination, entry.id) },
          emit: () => {},
          signal: deadline('the recovery', 120_000),
        });
        assert.equal(
          result.ending,
          'rolled-back',
          JSON.stringify([result.left, result.decisions, result.warnings]),
        );
        assert.ok(vm);
        try {
          assert.equal((await queryStatus(vm.qemu.monitor)).running, true);
          assert.equal(await isPlugged(vm, { id: 'net0' }), true);
          const files = await inGuest(vm, 'ls -A /run/shadowferry 2>/dev/null; exit 0');
          assert.equal(files.trim(), '', 'files of the replay program are left in the guest');
        } finally {
          await disconnectVm(vm);
        }
        assert.deepEqual(await lookAtHost(lab, 'b'), NOTHING);
        assert.deepEqual(await ownership.claims('b'), []);
        assert.equal((await ownership.read('web1'))?.owner, 'a');
        assert.deepEqual(journal.migrations({ open: true }), []);
        const { connections } = await probes.stop();
        assert.equal(connections.survived, connections.opened);
      } finally {
        probes.kill();
      }
    });
  }
});
