/** One device gives way to another model on the same host, in each mode of continuity, while connections live on. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { ShadowferryError } from '../../src/errors.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { ProbeResult } from '../../src/lab/probe/probes.ts';
import { watchGuest } from '../../src/lab/scenario.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import { swapDevice } from '../../src/migration/swap/engine.ts';
import { SwapRequest } from '../../src/migration/swap/request.ts';
import { vmSite } from '../../src/migration/swap/vm-site.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import {
  assertLosses,
  assertSurvived,
  CACHE,
  DRIVERS,
  driverInGuest,
  type GuestLook,
  inGuest,
  lookIntoGuest,
  MIGRATION_MS,
} from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const QUIET_MS = 500;
const [FIRST, SECOND] = ['e1000e', 'vmxnet3'] as const;

/** The guest loses its driver for the new device, as a guest may that was never prepared for it. */
const HIDE_DRIVER = `
module=$(modinfo -n "$1")
mv "$module" /run/hidden-driver
printf '%s\\n' "$module" >/run/hidden-driver-path
rmmod "$1" 2>/dev/null || :
`;
const BRING_DRIVER_BACK = 'mv /run/hidden-driver "$(cat /run/hidden-driver-path)"; modprobe "$1"';

interface Swapped {
  result: MigrationResult;
  seen: ProbeResult;
}

describe('swap: another device on the same host', needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let asBooted: GuestLook;
  const table: string[] = [];

  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: [FIRST, SECOND], b: [] }, log: console.log });
    vm = await lab.boot({ standby: 'virtio' });
    asBooted = await lookIntoGuest(vm);
  });

  after(async () => {
    if (table.length > 0) console.log(['outage of a swap on this machine, ms', ...table].join('\n'));
    await lab?.dispose();
  });

  const site = (request: Pick<SwapRequest, 'device' | 'with'>) =>
    vmSite(request, { vm, ownership: lab.ownership, signal: deadline('asking QEMU', 30_000) });

  async function swap(
    asked: Pick<SwapRequest, 'with'> & Partial<SwapRequest>,
    cancel = new AbortController().signal,
  ): Promise<Swapped> {
    const request = SwapRequest.parse({ vm: 'web1', ...asked });
    const { journal, abilities } = lab;
    const probes = await watchGuest(lab);
    try {
      await delay(QUIET_MS);
      const result = await swapDevice(request, {
        site: await site(request),
        journal,
        abilities,
        emit: () => {},
        cancel,
      });
      await delay(QUIET_MS);
      return { result, seen: await probes.stop() };
    } finally {
      probes.kill();
    }
  }

  const claimed = async () =>
    (await lab.ownership.claims('a')).map(({ device, vm: holder }) => `${device}:${holder}`);

  it('a dry run says what would be lost, and changes nothing', { timeout: MIGRATION_MS }, async () => {
    const { result } = await swap({ with: 'nic1', continuity: 'replay', dryRun: true });
    assert.equal(result.ending, 'planned', result.error?.message);
    assert.equal(result.continuity, 'replay');
    assert.ok(result.shadow.captured > 30);
    assert.deepEqual(await claimed(), ['nic0:web1']);
    assert.deepEqual((await lookIntoGuest(vm)).leftovers, []);
  });

  for (const [continuity, device, target, model] of [
    ['replay', undefined, 'nic1', SECOND],
    ['hold', 'net0', 'nic0', FIRST],
    ['bridge', 'nic0', 'nic1', SECOND],
  ] as const) {
    it(`${continuity}: ${model} takes over, and every connection lives`, {
      timeout: MIGRATION_MS,
    }, async () => {
      const { result, seen } = await swap({ with: target, device, continuity });
      const told = JSON.stringify([result.error, result.left, result.warnings, result.marks], undefined, 1);
      assert.equal(result.ending, 'completed', told);
      assert.equal(result.continuity, continuity);
      assertSurvived(seen);
      assert.equal(result.to?.driver, DRIVERS[model]);
      const name = continuity === 'replay' ? 'lan0' : 'lan0-d';
      assert.equal(await driverInGuest(vm, name), DRIVERS[model]);
      assertLosses(result, continuity === 'replay' || continuity === 'hold');
      const look = await lookIntoGuest(vm);
      assert.deepEqual(look.configured, asBooted.configured);
      assert.deepEqual(look.leftovers, []);
      assert.deepEqual(await claimed(), [`${target}:web1`]);
      assert.deepEqual(vm.qemu.spec.nics[0]?.direct, { device: target, model });
      const { tcp, icmp } = seen.outageMs;
      table.push(
        `  ${continuity.padEnd(7)} TCP ${tcp.toFixed(0).padStart(5)}  ICMP ${icmp?.toFixed(0).padStart(5)}`,
      );
    });
  }

  it('when the new device does not come, the old one is back, with all that it had', {
    timeout: 2 * MIGRATION_MS,
  }, async () => {
    const hidden = DRIVERS[FIRST];
    await inGuest(vm, HIDE_DRIVER, [hidden]);
    const { result, seen } = await swap({ with: 'nic0', limits: { ...SHORT, attachMs: 4_000 } });
    await inGuest(vm, BRING_DRIVER_BACK, [hidden]);
    assert.equal(result.ending, 'rolled-back', JSON.stringify([result.left, result.error]));
    assert.equal(result.error?.code, 'DEADLINE');
    assertSurvived(seen);
    assert.equal(await driverInGuest(vm, 'lan0-d'), DRIVERS[SECOND]);
    const look = await lookIntoGuest(vm);
    assert.deepEqual(look.configured, asBooted.configured);
    assert.deepEqual(look.leftovers, []);
    assert.deepEqual(await claimed(), ['nic1:web1']);
  });

  it('a cancel while the new device is awaited brings the old one back', {
    timeout: MIGRATION_MS,
  }, async () => {
    const cancel = new AbortController();
    const request = SwapRequest.parse({ vm: 'web1', with: 'nic0' });
    const { journal, abilities } = lab;
    const result = await swapDevice(request, {
      site: await site(request),
      journal,
      abilities,
      emit: (event) => {
        if (event.type === 'phase' && event.phase === 'attach') cancel.abort();
      },
      cancel: cancel.signal,
    });
    assert.equal(result.ending, 'rolled-back', JSON.stringify(result.left));
    assert.equal(result.error?.code, 'CANCELLED');
    assert.equal(await driverInGuest(vm, 'lan0-d'), DRIVERS[SECOND]);
    assert.deepEqual(await claimed(), ['nic1:web1']);
    assert.deepEqual((await lookIntoGuest(vm)).leftovers, []);
  });

  it('a device that cannot be used is refused by name', async () => {
    const refused = (code: string) => (error: unknown) =>
      error instanceof ShadowferryError && error.code === code;
    await assert.rejects(site({ with: 'nic1' }), refused('INPUT_FIELD'));
    await assert.rejects(site({ with: 'nic7' }), refused('UNKNOWN_DEVICE'));
    await assert.rejects(site({ device: 'eth7', with: 'nic0' }), refused('UNKNOWN_DEVICE'));
  });

  it('the journal tells of swaps apart from migrations', () => {
    const kinds = journalled(lab);
    assert.deepEqual(kinds, ['swap', 'swap', 'swap', 'swap', 'swap', 'swap']);
  });
});

const SHORT = SwapRequest.parse({ vm: 'web1', with: 'nic0' }).limits;

function journalled(lab: Lab): unknown[] {
  return lab.journal.migrations().map(({ request }) => SwapRequest.parse(JSON.parse(request)).kind);
}
