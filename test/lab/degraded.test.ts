/** After the commit there is no way back: a device that cannot be attached leaves the VM running, and says so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { queryStatus } from '../../src/hypervisor/qmp/commands.ts';
import { Lab } from '../../src/lab/lab.ts';
import { migrateInLab } from '../../src/lab/scenario.ts';
import { parseRequest } from '../../src/migration/request.ts';
import { endVm } from '../../src/migration/vm.ts';
import { watchConnections } from './migrating.ts';

/** The guest loses its driver for the destination's device, as a guest may that was never prepared for it. */
const HIDE_DRIVER = `
module=$(modinfo -n vmxnet3)
mv "$module" /run/hidden-driver
printf '%s\\n' "$module" >/run/hidden-driver-path
rmmod vmxnet3 2>/dev/null || :
`;

test('a device that the guest cannot drive: the VM runs on over its standby, degraded, with the reason', async () => {
  await using lab = await Lab.create({
    cacheDir: cacheDirectory(),
    devices: { a: ['e1000e'], b: ['vmxnet3'] },
    log: () => {},
  });
  const vm = await lab.boot({ setup: { extra: HIDE_DRIVER } });
  const probes = await watchConnections(lab);
  try {
    const limits = { attachMs: 2_000, attachTries: 2 };
    const request = parseRequest({ vm: 'web1', destination: 'b', limits });
    const { result, destinationVm } = await migrateInLab({ lab, vm, request });
    assert.equal(result.ending, 'degraded', result.error?.message);
    assert.equal(result.ok, false);
    assert.match(result.error?.message ?? '', /traffic on the new device/);
    assert.ok(result.warnings.some((text) => text.includes('trying again')));
    assert.equal((await lab.ownership.read('web1'))?.owner, 'b');
    assert.ok(destinationVm);
    assert.equal((await queryStatus(destinationVm.qemu.monitor)).running, true);
    const { connections } = await probes.stop();
    assert.equal(connections.survived, connections.opened);
    assert.equal(connections.outOfOrder + connections.corrupt, 0);
    await endVm(destinationVm);
  } finally {
    probes.kill();
  }
});
