/**
 * Versioned transfers between two real QEMUs. Their vCPUs stand still, so that all of the memory can be compared and
 * nothing boots; `transfer-runs.long.test.ts` does it with a guest that writes.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { cont, stop } from '../../src/hypervisor/qmp/commands.ts';
import { differingPages } from '../../src/lab/transfer/bare-qemu.ts';
import { TwoHosts } from '../../src/lab/transfer/two-hosts.ts';

const MIB = 2 ** 20;
const TEST_MS = 120_000;
const QEMU = 'qemu-system-x86_64';

describe('a versioned transfer between two QEMUs', { timeout: TEST_MS }, () => {
  let hosts: TwoHosts;
  const signal = AbortSignal.timeout(TEST_MS);

  before(async () => {
    const options = { binaries: [QEMU, QEMU] as const, memoryMiB: 64, dataMiB: 10, machine: 'pc-q35-7.2' };
    hosts = await TwoHosts.start(options, signal);
  });
  after(() => hosts?.end());

  it('brings the memory to the last bit, and little of it when it comes back', async () => {
    const there = await hosts.move({ mode: 'precopy', signal });
    assert.deepEqual(differingPages(there.left, there.arrived), []);
    assert.equal(there.source.unknown, undefined);
    assert.ok(there.source.pages.sent > 10 * 256, JSON.stringify(there.source));
    assert.deepEqual([there.source.kept.done, there.destination.remembered.done], [true, true]);
    await hosts.leave();

    for (const mode of ['postcopy', 'precopy'] as const) {
      hosts.write(4);
      const back = await hosts.move({ mode, signal });
      assert.deepEqual(differingPages(back.left, back.arrived), []);
      assert.ok(back.source.base.known, back.source.base.why);
      // a tenth of it is new
      const share = back.source.wireBytes / there.source.wireBytes;
      assert.ok(share > 0.09 && share < 0.13, `${share} of the bytes came back by ${mode}`);
      await hosts.leave();
    }
  });

  it('goes on after its line was cut for a while', async () => {
    const { left, arrived, source } = await hosts.move({
      ...{ mode: 'precopy', signal, connections: 2, bare: true, rate: 5 * MIB },
      meanwhile: (line) => {
        setTimeout(() => line.cut(true), 300);
        setTimeout(() => line.mend(), 1_500);
      },
    });
    assert.ok(source.reconnects > 0);
    assert.deepEqual(differingPages(left, arrived), []);
    await hosts.leave();
  });

  it('leaves the VM where it is when its line is cut for good, and it can go later', async () => {
    const { here } = hosts;
    const moving = hosts.move({
      ...{ mode: 'precopy', signal, rate: 4 * MIB, deadlineMs: 1_000, bare: true },
      meanwhile: (line) => setTimeout(() => line.cut(true), 300),
    });
    await assert.rejects(moving);
    assert.equal(hosts.here, here);
    // QEMU sends a VM whose copy failed only after it has run
    await cont(hosts.vm.monitor);
    await stop(hosts.vm.monitor);
    const { left, arrived } = await hosts.move({ mode: 'precopy', signal });
    assert.deepEqual(differingPages(left, arrived), []);
  });
});
