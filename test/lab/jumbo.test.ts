/** Frames of 9000 bytes: on a device that takes them, and on one that does not. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exec } from '../../src/base/exec.ts';
import { GUEST_ADDRESS, GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import { watchGuest } from '../../src/lab/scenario.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { abilitiesOf } from '../../src/shadow/net/abilities.ts';
import { goldenShadow } from '../../src/shadow/net/golden.test-data.ts';
import { assertSurvived, CACHE, inGuest, MIGRATION_MS, moveOver } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const JUMBO = 9000;
/** What the driver of rtl8139 (8139cp) takes at most. */
const SMALLER = 4096;
/** Of IPv4 and ICMP. */
const HEADERS = 28;

describe('jumbo frames', needsNetworkRights(), () => {
  const directory = mkdtempSync(join(tmpdir(), 'jumbo-'));
  let lab: Lab;
  let vm: RunningVm;

  before(async () => {
    lab = await Lab.create({
      cacheDir: CACHE,
      abilities: join(directory, 'abilities.json'),
      devices: { a: ['e1000e'], b: ['vmxnet3', 'rtl8139'] },
      mtu: JUMBO,
      log: console.log,
    });
    const seen = abilitiesOf(goldenShadow('rtl8139')) ?? assert.fail('the golden shadow has a driver');
    await lab.abilities.remember(seen);
    vm = await lab.boot({ standby: 'none', setup: { extra: `$ip link set dev "$dev" mtu ${JUMBO}` } });
  });

  after(async () => {
    await lab?.dispose();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Whether ICMP of so many bytes, which nobody may take apart, is answered. */
  async function passes(payload: number): Promise<boolean> {
    const { code } = await exec(
      lab.outside([
        'ping',
        '-n',
        '-q',
        '-M',
        'do',
        '-c',
        '3',
        '-i',
        '0.2',
        '-W',
        '5',
        '-s',
        `${payload}`,
        GUEST_ADDRESS,
      ]),
      { allowFailure: true },
    );
    return code === 0;
  }

  const mtu = async () => (await inGuest(vm, 'cat "/sys/class/net/$1/mtu"', [GUEST_INTERFACE])).trim();

  async function move(continuity: 'replay' | 'hold', device: string): Promise<MigrationResult> {
    const moved = await moveOver(lab, vm, { continuity, device });
    vm = moved.vm;
    return moved.result;
  }

  for (const [continuity, device, model] of [
    ['replay', 'nic0', 'vmxnet3'],
    ['hold', 'nic0', 'e1000e'],
  ] as const) {
    it(`pass before and after: ${continuity} onto ${model}`, { timeout: MIGRATION_MS }, async () => {
      assert.equal(await passes(8000), true);
      const probes = await watchGuest(lab);
      try {
        const { shadow } = await move(continuity, device);
        assert.ok(shadow.restored.some(({ key }) => key === 'link.mtu'));
        assertSurvived(await probes.stop());
      } finally {
        probes.kill();
      }
      assert.equal(await mtu(), `${JUMBO}`);
      assert.equal(await passes(8000), true);
    });
  }

  it('give way to the largest that the new device takes, which is told before anything moves', {
    timeout: MIGRATION_MS,
  }, async () => {
    const { shadow, warnings } = await move('hold', 'nic1');
    const told = warnings.find((text) => text.includes(`${JUMBO} becomes ${SMALLER}`));
    assert.match(told ?? '', /peers that send more than fits are not heard/, JSON.stringify(warnings));
    const adapted = shadow.adapted.find(({ key }) => key === 'link.mtu');
    assert.equal(adapted?.fate === 'adapted' && adapted.now, `${SMALLER}`);
    assert.equal(await mtu(), `${SMALLER}`);
    assert.equal(await passes(SMALLER - HEADERS), true);
    assert.equal(await passes(8000), false);
    const probes = await watchGuest(lab);
    try {
      assertSurvived(await probes.stop());
    } finally {
      probes.kill();
    }
  });
});
