/**
 * Guests as people have them, all of them: each network manager, with addresses from a DHCP server and without, in each
 * mode. Connections survive; name, addresses and the manager's report are as before, also a minute later, when leases
 * were renewed, and after a reboot of the guest with `--persist`. The guest that has started again goes on to the next
 * mode, and in the end another device comes by a swap. `npm run test:guests`, which takes most of an hour; a table at the end says what was seen.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MANAGERS } from '../../src/lab/image/distro/setup.ts';
import { migrateInLab, watchGuest } from '../../src/lab/scenario.ts';
import { parseRequest } from '../../src/migration/request.ts';
import { DHCLIENT, denyAgent, denyDhclient, enforced, labelsOf } from './apparmor.ts';
import { needsDistroTools } from './distro.ts';
import {
  addByHand,
  BOOT_MS,
  BUILD_MS,
  bootManaged,
  type Guest,
  INTERFACE,
  type Look,
  look,
  type ManagedGuest,
  MODELS,
  MOVE_MS,
  managerTold,
  only,
  PATIENT,
  reboot,
  renewed,
  SLOWLY,
  swapOver,
} from './managed-guest.ts';
import { assertSurvived, inGuest, moveOver, watchConnections } from './migrating.ts';

/** In this order one guest goes through all of them: once there is a shadow interface it stays. */
const MODES = ['replay', 'hold', 'bridge'] as const;
type Mode = (typeof MODES)[number];
/** Of the shadow interface, after a boot. */
const MEMBERS: Record<Mode, number> = { replay: 0, hold: 1, bridge: 2 };

/** Prints the members of a bond, when there are as many as wanted; a manager may take them up after the bond itself. */
const MEMBERS_THERE = `
[ -d "/sys/class/net/$1/bonding" ] || exit 0
n=0
until set -- "$1" "$2" $(cat "/sys/class/net/$1/bonding/slaves") && [ $# -eq $(($2 + 2)) ]; do
  n=$((n + 1)); [ $n -lt 100 ] || break
  sleep 0.3
done
cat "/sys/class/net/$1/bonding/slaves"
`;

/** Each manager in both ways; and those whose DHCP client has a profile of AppArmor, with that enforced. */
const GUESTS: readonly Guest[] = [
  ...MANAGERS.flatMap((manager) => (['dhcp', 'static'] as const).map((ipv4) => ({ manager, ipv4 }))),
  { manager: 'ifupdown', ipv4: 'dhcp', apparmor: true },
  { manager: 'NetworkManager', ipv4: 'dhcp', apparmor: true },
];

const COLUMNS = [
  'connections',
  'outage, ms',
  'same address',
  'same report',
  'a minute later',
  'once more',
  'reboot',
] as const;
type Row = Partial<Record<(typeof COLUMNS)[number], string>>;
const rows = new Map<string, Row>();

/** Notes in the table what comes of a step. */
async function noted(row: Row, key: keyof Row, step: () => unknown): Promise<void> {
  row[key] = 'NO';
  await step();
  row[key] = 'yes';
}

after(() => {
  if (rows.size > 0) console.table(Object.fromEntries(rows), [...COLUMNS]);
});

for (const guest of GUESTS) {
  const { manager, ipv4, apparmor } = guest;
  const title = `${manager}, ${ipv4}${apparmor ? ', AppArmor' : ''}`;
  const nic = only(manager);
  const suite = {
    ...needsDistroTools(),
    timeout: BUILD_MS + BOOT_MS + MODES.length * (2 * MOVE_MS + BOOT_MS),
  };
  describe(title, suite, () => {
    let guestNow: ManagedGuest;
    let withHand: Look;
    const swapRow: Row = {};

    before(
      async () => {
        guestNow = await bootManaged(guest, 'virtio');
      },
      { timeout: BUILD_MS + BOOT_MS },
    );
    after(() => guestNow?.lab.dispose());

    if (apparmor) {
      it('enforces the profile of its DHCP client, and has none for its agent', async () => {
        const profiles = await enforced(guestNow.vm);
        assert.ok(profiles.includes(DHCLIENT), profiles.join('\n'));
        assert.deepEqual(await labelsOf(guestNow.vm, 'dhclient'), [`${DHCLIENT} (enforce)`]);
        assert.deepEqual(await labelsOf(guestNow.vm, 'qemu-ga'), ['unconfined']);
      });
    }

    for (const [at, mode] of MODES.entries()) {
      const model = MODELS[(at + 1) % MODELS.length];
      const row: Row = {};

      it(`${mode} onto ${model}`, { timeout: MOVE_MS }, async () => {
        rows.set(`${title}, ${mode}`, row);
        await addByHand(guestNow.vm, nic);
        withHand = await look(guestNow.vm, nic);
        const probes = await watchGuest(guestNow.lab, undefined, guestNow.address, SLOWLY);
        try {
          const device = `nic${(at + 1) % MODELS.length}`;
          const moved = await moveOver(guestNow.lab, guestNow.vm, {
            continuity: mode,
            device,
            persist: true,
            limits: PATIENT,
          });
          guestNow.vm = moved.vm;
          const now = await look(moved.vm, nic);
          const seen = await probes.stop();
          row.connections = `${seen.connections.survived} of ${seen.connections.opened}`;
          row['outage, ms'] = `${Math.round(seen.outageMs.tcp)}`;
          await noted(row, 'same address', () => assert.deepEqual(now.state, withHand.state));
          await noted(row, 'same report', () => {
            assert.deepEqual(now.report, withHand.report);
            assert.deepEqual(managerTold(moved.result), []);
          });
          assertSurvived(seen);
          const files = moved.result.nics.flatMap(({ persisted }) => persisted ?? []);
          assert.ok(files.length > 0, JSON.stringify(moved.result.warnings));
        } finally {
          probes.kill();
        }
      });

      it(`${mode}: is so a minute later, with its lease renewed`, { timeout: MOVE_MS }, () =>
        noted(row, 'a minute later', async () => {
          // what may happen later by itself, happens within this time: the sleep is what is tested
          await Promise.all([delay(60_000), ipv4 === 'dhcp' ? renewed(guestNow.dhcp) : undefined]);
          assert.deepEqual(await look(guestNow.vm, nic), withHand);
          const leases = guestNow.dhcp.leases().map((lease) => lease.address);
          if (ipv4 === 'dhcp') assert.deepEqual([...new Set(leases)], [guestNow.address]);
        }),
      );

      if (mode === 'hold') {
        it('hold: is so after another one, of what is there already', { timeout: MOVE_MS }, () =>
          noted(row, 'once more', async () => {
            const probes = await watchConnections(guestNow.lab, guestNow.address, SLOWLY);
            try {
              const again = { continuity: mode, persist: true, limits: PATIENT } as const;
              const moved = await moveOver(guestNow.lab, guestNow.vm, { ...again, device: 'nic2' });
              guestNow.vm = moved.vm;
              assert.deepEqual(await look(moved.vm, nic), withHand);
              assertSurvived(await probes.stop());
            } finally {
              probes.kill();
            }
          }),
        );
      }

      it(`${mode}: is so after a reboot of the guest`, { timeout: BOOT_MS + MOVE_MS }, () =>
        noted(row, 'reboot', async () => {
          await reboot(guestNow.vm, nic);
          assert.deepEqual(await look(guestNow.vm, nic), guestNow.booted);
          const members = await inGuest(guestNow.vm, MEMBERS_THERE, [INTERFACE, String(MEMBERS[mode])]);
          assert.equal(
            members.split(' ').filter((name) => name.trim() !== '').length,
            MEMBERS[mode],
            members,
          );
          const probes = await watchGuest(guestNow.lab, undefined, guestNow.address, SLOWLY);
          try {
            await delay(1000); // some traffic
            assertSurvived(await probes.stop());
          } finally {
            probes.kill();
          }
        }),
      );
    }

    it('is so after a swap with --persist, and after another reboot', { timeout: BOOT_MS + MOVE_MS }, () =>
      noted(swapRow, 'reboot', async () => {
        rows.set(`${title}, swap`, swapRow);
        await addByHand(guestNow.vm, nic);
        withHand = await look(guestNow.vm, nic);
        const probes = await watchGuest(guestNow.lab, undefined, guestNow.address, SLOWLY);
        try {
          const result = await swapOver(guestNow, { continuity: 'bridge', persist: true, limits: PATIENT });
          const now = await look(guestNow.vm, nic);
          const seen = await probes.stop();
          swapRow.connections = `${seen.connections.survived} of ${seen.connections.opened}`;
          swapRow['outage, ms'] = `${Math.round(seen.outageMs.tcp)}`;
          await noted(swapRow, 'same address', () => assert.deepEqual(now.state, withHand.state));
          await noted(swapRow, 'same report', () => {
            assert.deepEqual(now.report, withHand.report);
            assert.deepEqual(managerTold(result), []);
          });
          assertSurvived(seen);
          assert.ok(result.nics.some(({ persisted = [] }) => persisted.length > 0));
        } finally {
          probes.kill();
        }
        await reboot(guestNow.vm, nic);
        assert.deepEqual(await look(guestNow.vm, nic), guestNow.booted);
      }),
    );

    if (apparmor && manager === 'ifupdown') {
      it('tells what the profile denies', { timeout: MOVE_MS }, async () => {
        await denyDhclient(guestNow.vm);
        const moved = await moveOver(guestNow.lab, guestNow.vm, { continuity: 'hold', limits: PATIENT });
        guestNow.vm = moved.vm;
        const told = managerTold(moved.result).filter((text) => text.includes('dhclient'));
        assert.match(
          told.join('\n'),
          /did not start again: .*denied.*apparmor="DENIED" operation="create".*comm="dhclient"/s,
        );
        // its lease is not renewed, but it has its address until then
        assert.deepEqual((await look(guestNow.vm, nic)).state, guestNow.booted.state);
      });

      it('is refused where a profile keeps the agent from running programs', {
        timeout: MOVE_MS,
      }, async () => {
        const { lab, vm } = guestNow;
        await denyAgent(vm);
        const destination = vm.host.name === 'a' ? 'b' : 'a';
        const request = parseRequest({ vm: 'web1', destination, dryRun: true, limits: PATIENT });
        const { result } = await migrateInLab({ lab, vm, request });
        assert.deepEqual([result.ending, result.error?.code], ['rolled-back', 'GUEST_COMMAND_FAILED']);
        assert.match(result.error?.message ?? '', /Permission denied/);
      });
    }
  });
}
