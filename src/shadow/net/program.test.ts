import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type FakeGuest, shells, withGuest } from './fake-guest.test-data.ts';
import { bonded, hostileShadow, LINK, route, STANDBY, shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';
import type { Operation, ReplayPlan } from './plan-model.ts';

/** What the tools should have been called with: all operations but writes, in order. */
const expectedCalls = (operations: readonly Operation[]): string[][] =>
  operations.filter(({ tool }) => tool !== 'write').map(({ tool, argv }) => [tool, ...argv]);

/** What the command `attach` does to a device that may have the plan's queueing already. */
const unqueueing = (plan: ReplayPlan): string[][] =>
  plan.sets.attach.some(({ tool }) => tool === 'tc')
    ? ['root', 'clsact', 'ingress'].map((place) => ['tc', 'qdisc', 'delete', 'dev', plan.deviceName, place])
    : [];

/** Last value written to each file, under the name that it has in the end. */
function expectedFiles(operations: readonly Operation[], renamed: [string, string]): Map<string, string> {
  const files = new Map<string, string>();
  for (const { tool, argv } of operations) {
    const [file = '', value = ''] = argv;
    if (tool === 'write')
      files.set(file.replace(`/sys/class/net/${renamed[0]}/`, `/sys/class/net/${renamed[1]}/`), value);
  }
  return files;
}

/** Runs `act` while the guest's `ip` does nothing and says that all is well. */
async function withoutTool(guest: FakeGuest, act: () => Promise<void>): Promise<void> {
  const path = `${guest.base}/bin/ip`;
  const text = readFileSync(path, 'utf8');
  // a file that is being run cannot be written to
  const replace = (by: string) => {
    writeFileSync(`${path}.new`, by, { mode: 0o755 });
    renameSync(`${path}.new`, path);
  };
  replace('#!/bin/sh\nexit 0\n');
  await act();
  replace(text);
}

const [shell = ['sh']] = shells;

describe('the program', () => {
  for (const each of shells) {
    const name = each.join(' ');

    it(`does in ${name} what the plan says, whatever the words`, { timeout: 120_000 }, async () => {
      await fc.assert(
        fc.asyncProperty(hostileShadow, async (given) => {
          const plan = planReplay(given, { continuity: 'replay' });
          await withGuest(plan, async (guest) => {
            await guest.start(each, plan);
            guest.command('attach');
            await guest.event('replayed');
            assert.deepEqual(guest.calls(), [...unqueueing(plan), ...expectedCalls(plan.sets.attach)]);
            const wanted = expectedFiles(plan.sets.attach, ['', '']);
            for (const [file, value] of wanted) assert.equal(guest.inTree(file), value, file);
            assert.equal(guest.events().find((event) => event.e === 'replayed')?.failed, 0);
            // once more: the same is asked for, and nothing is otherwise than it was
            const once = guest.tree();
            guest.command('attach');
            const again = await guest.event('replayed', 2);
            assert.equal(again.e === 'replayed' && again.failed, 0);
            assert.deepEqual(guest.calls(), [...unqueueing(plan), ...expectedCalls(plan.sets.attach)]);
            assert.deepEqual(guest.tree(), once);
          });
        }),
        { numRuns: 12 },
      );
    });

    it(`adopts in ${name}, and no second time`, async () => {
      const plan = planReplay(shadow({ standby: STANDBY }), { continuity: 'bridge' });
      await withGuest(
        plan,
        async (guest) => {
          await guest.start(each, plan);
          guest.command('leave');
          await guest.event('left');
          assert.deepEqual(guest.calls(), expectedCalls(plan.sets.adopt));
          assert.equal(guest.inTree('/sys/class/net/eth0/bonding/primary'), 'eth0-d');
          guest.command('adopt');
          const again = await guest.event('adopted', 2);
          assert.equal(again.e === 'adopted' && again.changed, 0);
          assert.deepEqual(guest.calls(), []);
        },
        'eth0',
      );
    });

    it(`gives a device that arrives its name in the same process as what follows, in ${name}`, async () => {
      const plan = planReplay(bonded(['eth0-d'], { driver: undefined }), { continuity: 'hold' });
      await withGuest(
        plan,
        async (guest) => {
          guest.put(`${guest.root}/sys/class/net/eth0/bonding/mode`, 'active-backup 1\n');
          guest.put(`${guest.root}/sys/class/net/eth0/bonding/active_slave`, 'eth0-d\n');
          await guest.start(each, plan);
          guest.command('attach');
          await guest.event('done');
          assert.deepEqual(guest.calls(), [
            ['ip', 'link', 'set', 'dev', 'eth5', 'name', 'eth0-d'],
            ...expectedCalls(plan.sets.attach),
          ]);
          const names = guest.events().map(({ e }) => e);
          assert.deepEqual(
            names.filter((e) => e !== 'stage'),
            ['ready', 'seen', 'claimed', 'batch', 'carrier', 'active', 'replayed', 'done'],
          );
        },
        'eth5',
      );
    });
  }

  it('writes sysctls of a device that has not got its name yet where they will be', async () => {
    const plan = planReplay(shadow({ driver: undefined }), { continuity: 'replay' });
    await withGuest(
      plan,
      async (guest) => {
        for (const family of ['ipv4/conf', 'ipv6/conf']) {
          guest.put(`${guest.root}/proc/sys/net/${family}/eth5/rp_filter`, '0');
        }
        await guest.start(shell, plan);
        guest.command('attach');
        await guest.event('replayed');
        assert.equal(guest.inTree('/proc/sys/net/ipv4/conf/eth5/rp_filter'), '2');
        assert.equal(guest.inTree('/proc/sys/net/ipv6/conf/eth5/accept_dad'), '0');
        assert.equal(guest.inTree('/proc/sys/net/ipv6/conf/eth0/accept_dad'), '1');
      },
      'eth5',
    );
  });

  it('writes what the kernel takes back when it notes a link again after it has', async () => {
    const mtu = '/proc/sys/net/ipv6/conf/eth0/mtu';
    const sysctls = [{ path: 'ipv6/conf/{dev}/mtu', value: '1380' }];
    const plan = planReplay(shadow({ sysctls }), { continuity: 'replay' });
    await withGuest(plan, async (guest) => {
      const state = `${guest.root}/sys/class/net/eth0/operstate`;
      guest.put(state, 'down\n');
      await guest.start(shell, plan);
      guest.command('attach');
      await guest.event('replayed');
      guest.command('ping 1');
      await guest.event('pong');
      assert.ok(!guest.events().some(({ e }) => e === 'active'));
      guest.put(`${guest.root}${mtu}`, '1500\n');
      guest.put(state, 'up\n');
      guest.command('rescan'); // a look, as a link event gives one
      await guest.event('done');
      assert.equal(guest.inTree(mtu), '1380');
    });
  });

  it('tells which operation of a batch failed, and goes on', async () => {
    const routes = ['10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16', '10.4.0.0/16'].map((to, at) =>
      route(to, [
        'dev',
        'eth0',
        ...(['congctl FAIL', '', 'congctl EXISTS'][at] ?? '').split(' ').filter(Boolean),
      ]),
    );
    const plan = planReplay(shadow({ routes }), { continuity: 'replay' });
    await withGuest(plan, async (guest) => {
      await guest.start(shell, plan);
      guest.command('attach');
      await guest.event('replayed');
      const failing = plan.sets.attach.find(({ argv }) => argv.includes('FAIL'));
      const told = guest.events().filter((event) => event.e === 'op');
      // "File exists" says that it is done already
      assert.deepEqual(
        told.map(({ set, id, rc, err }) => [set, id, rc, err]),
        [['attach', failing?.id, 1, 'RTNETLINK answers: Invalid argument']],
      );
      assert.deepEqual(guest.calls(), expectedCalls(plan.sets.attach));
    });
  });

  it('finishes a batch that its tool gave up, each operation once more at most, and none of the swap', async () => {
    const bad = new Set([3, 70, 71, 140]);
    const routes = Array.from({ length: 150 }, (_, n) =>
      route(`10.0.${n}.0/24`, ['dev', 'eth0', ...(bad.has(n) ? ['congctl', 'GARBAGE'] : [])]),
    );
    const plan = planReplay(shadow({ routes }), { continuity: 'hold' });
    await withGuest(
      plan,
      async (guest) => {
        await guest.start(shell, plan);
        guest.command('adopt');
        await guest.event('adopted');
        const failed = guest.events().filter((event) => event.e === 'op');
        const wanted = plan.sets.adopt.filter(({ argv }) => argv.includes('GARBAGE'));
        assert.deepEqual(
          failed.map(({ id }) => id),
          wanted.map(({ id }) => id),
        );
        const calls = guest.calls().map((words) => words.join(' '));
        for (const { tool, argv } of plan.sets.adopt) {
          if (tool !== 'write') assert.ok(calls.includes([tool, ...argv].join(' ')), argv.join(' '));
        }
        assert.equal(calls.filter((call) => call === 'ip link set dev eth0 name eth0-d').length, 1);
      },
      'eth0',
    );
  });

  it('sets one by one what ethtool refuses together, unless the driver knows none of it', async () => {
    const rings = ['FAIL', 'tx'].map((name) => ({ name, value: '256' }));
    const coalesce = ['UNSUPPORTED', 'tx-usecs'].map((name) => ({ name, value: '3' }));
    const driver = { features: [], rings, channels: [], coalesce, pause: [] };
    const plan = planReplay(shadow({ driver }), { continuity: 'replay' });
    await withGuest(plan, async (guest) => {
      await guest.start(shell, plan);
      guest.command('attach');
      await guest.event('replayed');
      const calls = guest.calls().filter(([tool]) => tool === 'ethtool');
      assert.deepEqual(
        calls.map((words) => words.slice(1).join(' ')),
        [
          '-G eth0 FAIL 256 tx 256',
          '-g eth0', // how much would fit?
          '-G eth0 FAIL 256',
          '-G eth0 tx 256',
          '-C eth0 UNSUPPORTED 3 tx-usecs 3',
        ],
      );
      const told = guest.events().filter((event) => event.e === 'op');
      assert.deepEqual(
        told.map(({ err }) => err),
        ['FAIL: RTNETLINK answers: Invalid argument', 'netlink error: Operation not supported'],
      );
    });
  });

  it('tells at most 20 failed operations one by one, and counts the others', async () => {
    const routes = Array.from({ length: 40 }, (_, n) =>
      route(`10.0.${n}.0/24`, ['dev', 'eth0', 'congctl', 'FAIL']),
    );
    const plan = planReplay(shadow({ routes }), { continuity: 'replay' });
    await withGuest(plan, async (guest) => {
      await guest.start(shell, plan);
      guest.command('attach');
      await guest.event('replayed');
      const events = guest.events();
      assert.equal(events.filter((event) => event.e === 'op').length, 20);
      assert.equal(events.find((event) => event.e === 'replayed')?.failed, 40);
    });
  });

  it('leaves the interface alone when no bond can be made', async () => {
    const plan = planReplay(shadow({ link: { ...LINK, mac: 'FAIL' } }), { continuity: 'hold' });
    await withGuest(
      plan,
      async (guest) => {
        rmSync(`${guest.root}/sys/class/net/eth0-b`, { recursive: true });
        await guest.start(shell, plan);
        guest.command('leave');
        await guest.event('failed', 2);
        const touched = /link set dev eth0 (down|name)/;
        assert.ok(!guest.calls().some((words) => touched.test(words.join(' '))));
        assert.ok(!guest.events().some(({ e }) => e === 'left' || e === 'adopted'));
      },
      'eth0',
    );
  });

  it('does not take the device away when the standby could not be taken in', async () => {
    const plan = planReplay(bonded(['eth0-d'], { standby: STANDBY }), { continuity: 'bridge' });
    await withGuest(plan, async (guest) => {
      guest.put(`${guest.root}/sys/class/net/eth0/bonding/slaves`, '');
      await guest.start(shell, plan);
      // as if the kernel had refused it
      await withoutTool(guest, async () => {
        guest.command('leave');
        const failed = await guest.event('failed');
        assert.match(failed.e === 'failed' ? failed.err : '', /eth0\/lower_eth1/);
      });
      assert.equal(guest.inTree('/sys/class/net/eth0/bonding/slaves'), '');
      assert.ok(!guest.events().some(({ e }) => e === 'left'));
      guest.command('leave');
      await guest.event('left');
      assert.equal(guest.inTree('/sys/class/net/eth0/bonding/slaves'), '-eth0-d');
    });
  });

  for (const [updelay, often] of [
    ['0', '20'],
    ['200', '100'],
  ] as const)
    it(`has a bond with an updelay of ${updelay} look for links every ${often} ms while a device moves`, async () => {
      const plan = planReplay(bonded(['eth0-d'], { driver: undefined }), { continuity: 'hold' });
      await withGuest(plan, async (guest) => {
        const option = (name: string) => `/sys/class/net/eth0/bonding/${name}`;
        const values = { slaves: '', updelay: `${updelay}\n`, downdelay: '0\n', miimon: '100\n' };
        for (const [name, value] of Object.entries(values)) guest.put(`${guest.root}${option(name)}`, value);
        await guest.start(shell, plan);
        assert.equal(guest.inTree(option('miimon'))?.trim(), '100');
        guest.command('leave');
        await guest.event('left');
        assert.equal(guest.inTree(option('miimon'))?.trim(), often);
        guest.command('stop');
        await guest.event('stopped');
        assert.equal(guest.inTree(option('miimon'))?.trim(), '100');
      });
    });

  it('waits with a device whose name another has, and takes it when that has gone', async () => {
    const plan = planReplay(bonded(['eth0-d'], { driver: undefined }), { continuity: 'hold' });
    await withGuest(
      plan,
      async (guest) => {
        guest.put(`${guest.root}/sys/class/net/eth0-d/flags`, '0x1002\n');
        await guest.start(shell, plan);
        guest.command('attach');
        const failed = await guest.event('failed');
        assert.match(failed.e === 'failed' ? failed.err : '', /eth0-d is taken/);
        rmSync(`${guest.root}/sys/class/net/eth0-d`, { recursive: true });
        await guest.event('replayed');
        assert.equal(guest.events().filter(({ e }) => e === 'failed').length, 1);
      },
      'eth5',
    );
  });

  it('finds a device whose name begins with a dot', async () => {
    for (const name of ['.eth0', '..eth0']) {
      const plan = planReplay(shadow({ link: { ...LINK, name } }), { continuity: 'replay' });
      await withGuest(plan, async (guest) => {
        await guest.start(shell, plan);
        guest.command('attach');
        await guest.event('replayed');
      });
    }
  });

  it('uses the plan for the source after a rollback', async () => {
    const plan = planReplay(bonded(['eth0-d'], { driver: undefined }), { continuity: 'hold' });
    const source = planReplay(bonded(['eth0-d'], { lower: { ...LINK, txqueuelen: 77 } }), {
      continuity: 'hold',
    });
    await withGuest(plan, async (guest) => {
      guest.put(`${guest.root}/sys/class/net/eth0/bonding/slaves`, '');
      await guest.start(shell, plan, source);
      guest.command('leave');
      await guest.event('left');
      assert.equal(guest.inTree('/sys/class/net/eth0/bonding/slaves'), '-eth0-d');
      guest.calls();
      guest.command('rollback');
      await guest.event('replayed');
      assert.deepEqual(guest.calls(), expectedCalls(source.sets.attach));
    });
  });

  it('takes nothing from a device that never left in mode replay', async () => {
    const plan = planReplay(shadow(), { continuity: 'replay' });
    await withGuest(plan, async (guest) => {
      await guest.start(shell, plan);
      guest.command('leave');
      guest.command('rollback');
      await guest.event('done');
      assert.deepEqual(guest.calls(), []);
    });
  });

  it('answers a ping, and heeds nothing that is not a command', async () => {
    const plan = planReplay(shadow(), { continuity: 'replay' });
    await withGuest(plan, async (guest) => {
      await guest.start(shell, plan);
      for (const text of ['ping x', 'ping $(reboot)', 'leave now', '{"e":"stop"}', 'ping 12'])
        guest.command(text);
      const pong = await guest.event('pong');
      assert.equal(pong.e === 'pong' && pong.n, 12);
      assert.deepEqual(
        guest.events().map(({ e }) => e),
        ['ready', 'pong'],
      );
    });
  });
});
