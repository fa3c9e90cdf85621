/**
 * Many migrations at once: all that two hosts shall do with their VMs is asked for in one go, also what only becomes
 * possible when other migrations are done. All come through, the limits are kept, and no VM waits while others go twice.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { deadline } from '../../src/base/deadline.ts';
import { findProgram } from '../../src/base/find-program.ts';
import { API } from '../../src/daemon/api/contract.ts';
import type { Migration } from '../../src/daemon/api/model.ts';
import { LabDaemons, type LabHostName } from '../../src/lab/daemons.ts';
import { guestSetup } from '../../src/lab/guest-setup.ts';
import { ensureGuestImage } from '../../src/lab/image/image.ts';
import { guestKernelArgs } from '../../src/lab/image/kernel-args.ts';
import { READY_LINE, SETUP_FW_CFG } from '../../src/lab/image/services.ts';
import { NETWORK } from '../../src/lab/lab.ts';
import { listLeftovers } from '../../src/lab/network/network.ts';

const skip = findProgram('etcd') === undefined && 'there is no etcd on this machine';
const VMS = 8;
const MIGRATIONS = 20;
/** `b` takes fewer than `a` may send: it must be asked again. */
const QUEUE = { a: { outgoing: 3, link: 3, incoming: 3 }, b: { outgoing: 2, link: 2, incoming: 2 } };
const BOOT_MS = 300_000;
const ALL_MS = 1_800_000;

const other = (host: LabHostName): LabHostName => (host === 'a' ? 'b' : 'a');
const names = Array.from({ length: VMS }, (_, n) => `vm${n}`);
/** Which VM, in which of its rounds, goes from where: round by round, so that the second waits for the first. */
const wishes = Array.from({ length: MIGRATIONS }, (_, n) => {
  const round = Math.floor(n / VMS);
  const source: LabHostName = round % 2 === 0 ? 'a' : 'b';
  return { vm: names[n % VMS] ?? '', round, source, destination: other(source) };
});

describe('twenty migrations at once over two hosts', { skip }, () => {
  let lab: LabDaemons;
  const client = (host: LabHostName) => lab.daemons[host].client;

  before(async () => {
    const { kernel, initrd } = await ensureGuestImage({ cacheDir: cacheDirectory(), log: () => {} });
    const of = (model: string) => names.map(() => model);
    const config = (host: LabHostName) => ({ queue: QUEUE[host] });
    lab = await LabDaemons.create({ devices: { a: of('e1000e'), b: of('vmxnet3') }, members: 1, config });
    for (const [n, name] of names.entries()) {
      const mac = `52:54:00:5f:01:${(16 + n).toString(16)}`;
      const setup = join(lab.directory, `${name}.sh`);
      writeFileSync(setup, guestSetup({ mac, nic: n }));
      const body = {
        ...{ name, memoryMiB: 192, firmwareFiles: [{ name: SETUP_FW_CFG, path: setup }] },
        boot: { kernel, initrd, append: guestKernelArgs() },
        nics: [{ id: 'net0', mac, network: NETWORK, device: `nic${n}`, standby: 'virtio' as const }],
      };
      await client('a').call(API.defineVm, { params: {}, query: {}, body });
      await client('a').call(API.startVm, { params: { vm: name }, query: {}, body: {} });
      await untilUp(name);
    }
  });
  after(async () => {
    await lab?.dispose();
    assert.deepEqual(listLeftovers(lab.id), { namespaces: [], processes: [] });
  });

  async function untilUp(vm: string): Promise<void> {
    const signal = deadline(`booting ${vm}`, BOOT_MS);
    let said = '';
    for (let from = 0; !said.includes(READY_LINE); ) {
      signal.throwIfAborted();
      const query = { from, waitSeconds: 5 };
      const piece = await client('a').call(API.readConsole, { params: { vm }, query });
      said += piece.text;
      from = piece.next;
    }
  }

  test('all complete, the limits are kept, and nobody starves', { timeout: ALL_MS }, async (t) => {
    const ids = await Promise.all(
      wishes.map(async ({ vm, source, destination }) => {
        const body = { vm, destination, whenItComes: true };
        const made = await client(source).call(API.submitMigration, { params: {}, query: {}, body });
        return made.id;
      }),
    );
    const ended: Migration[] = [];
    const signal = deadline('all migrations', ALL_MS);
    for (const [n, id] of ids.entries()) {
      const source = wishes[n]?.source ?? 'a';
      for (;;) {
        signal.throwIfAborted();
        const found = await client(source).call(API.getMigration, { params: { id }, query: {} });
        if (found.state === 'ended') {
          ended.push(found);
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
    for (const { id, vm, ending, error } of ended)
      assert.equal(ending, 'completed', `${id} of ${vm}: ${error?.message}`);
    for (const { vm, source, destination } of wishes.slice(-VMS)) {
      const there = await client(destination).call(API.getVm, { params: { vm }, query: {} });
      const here = await client(source).call(API.getVm, { params: { vm }, query: {} });
      assert.deepEqual([there.state, here.state], ['running', 'gone'], vm);
    }
    for (const host of ['a', 'b'] as const) {
      const most = mostAtOnce(ended.filter(({ source }) => source === host));
      assert.ok(most <= QUEUE[host].outgoing, `${most} at once from ${host}`);
      assert.ok(most <= QUEUE[other(host)].incoming, `${most} at once to ${other(host)}`);
    }
    // in one principal's queue VMs take turns: no VM's third begins before another one's first
    const begun = (round: number) =>
      ended.filter((_, n) => wishes[n]?.round === round).map(({ createdMs }) => createdMs);
    assert.ok(Math.max(...begun(0)) < Math.min(...begun(2)));
    const waits = ended.map(({ createdMs }) => createdMs - Math.min(...begun(0)));
    t.diagnostic(
      `${ended.length} migrations of ${VMS} VMs; the last began after ${Math.round(Math.max(...waits) / 1000)} s`,
    );
  });
});

/** How many of them were under way at the same time. */
function mostAtOnce(migrations: readonly Migration[]): number {
  const edges = migrations.flatMap(({ createdMs, endedMs }) => [
    { at: createdMs, by: 1 },
    { at: endedMs ?? createdMs, by: -1 },
  ]);
  let [now, most] = [0, 0];
  for (const { by } of edges.sort((a, b) => a.at - b.at || a.by - b.by)) {
    now += by;
    most = Math.max(most, now);
  }
  return most;
}
