/** The replay program against a real kernel: a network namespace, in which a veth plays the direct device. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { exec } from '../../src/base/exec.ts';
import { LogOfProgram } from '../../src/shadow/net/fake-guest.test-data.ts';
import { address, LINK, neighbour, PCI, route, shadow } from '../../src/shadow/net/plan.test-data.ts';
import { planReplay } from '../../src/shadow/net/plan.ts';
import { programFiles } from '../../src/shadow/net/program.ts';
import { needsNetworkRights } from './rights.ts';

const options = needsNetworkRights();

/** A network namespace with its own /sys, in which every interface looks as if it were at the PCI path. */
class Kernel {
  readonly base: string = mkdtempSync(join(tmpdir(), 'replay-program-'));
  readonly dir: string = join(this.base, 'net0');
  readonly #holder: ChildProcess;
  readonly log: LogOfProgram = new LogOfProgram(join(this.dir, 'log.jsonl'));

  constructor() {
    const root = join(this.base, 'root');
    const sys = join(this.base, 'sys');
    const devices = join(root, 'sys/bus/pci/devices', PCI);
    for (const directory of [sys, devices, this.dir]) mkdirSync(directory, { recursive: true });
    symlinkSync(join(sys, 'class'), join(root, 'sys/class'));
    symlinkSync(join(sys, 'class/net'), join(devices, 'net'));
    symlinkSync('/proc', join(root, 'proc'));
    const script = 'mount -t sysfs sysfs "$1" && ip link set lo up && echo up && exec sleep 3600';
    this.#holder = spawn('unshare', ['-n', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', sys], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  async ready(): Promise<void> {
    const out = this.#holder.stdout;
    assert.ok(out);
    await once(out, 'data', { signal: deadline('the namespace', 10_000) });
  }

  async sh(script: string): Promise<string> {
    const enter = ['-t', String(this.#holder.pid), '-n', '-m'];
    const env = { ...process.env, SHADOWFERRY_ROOT: join(this.base, 'root') };
    return (await exec(['nsenter', ...enter, 'sh', '-c', script], { env })).stdout;
  }

  async start(plan: ReturnType<typeof planReplay>): Promise<void> {
    const port = join(this.base, 'port');
    await exec(['mkfifo', port]);
    for (const { path, text } of programFiles({ dir: this.dir, port, destination: plan, source: plan })) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    await this.sh(`sh ${this.dir}/program.sh ${this.dir}`);
    await this.log.event('ready');
  }

  command(text: string): void {
    writeFileSync(join(this.base, 'port'), `${text}\n`, { flag: 'a' });
  }

  async end(): Promise<void> {
    this.command('stop');
    await this.log.event('stopped').catch(() => {});
    this.#holder.kill('SIGKILL');
    await once(this.#holder, 'exit');
    rmSync(this.base, { recursive: true, force: true });
  }
}

const { driver: _, ...given } = shadow({
  link: { ...LINK, mtu: 1400, txqueuelen: 77, alias: 'two words' },
  addresses: [
    address('10.77.0.10', { broadcast: '10.77.0.255' }),
    address('10.77.0.11', { label: 'eth0:b' }),
    address('10.88.0.1', { prefix: 32, peer: '10.88.0.2' }),
    address('fd77::10', { flags: ['noprefixroute'], validSeconds: 5000, preferredSeconds: 2000 }),
    address('fe80::5054:ff:fe00:1', { scope: 'link' }),
    address('239.5.5.5', { prefix: 32, flags: ['autojoin'] }),
  ],
  routes: [
    route('default', ['via', '10.77.0.1', 'dev', 'eth0', 'proto', 'static', 'metric', '100']),
    route('default', ['via', 'fe80::77', 'dev', 'eth0', 'metric', '200']),
    route('10.1.0.0/16', ['via', '192.0.2.1', 'dev', 'eth0', 'table', '100'], { table: '100' }),
    route('192.0.2.0/24', ['dev', 'eth0', 'table', '100', 'scope', 'link'], { table: '100' }),
    route('192.0.2.0/24', ['dev', 'eth0', 'scope', 'link']),
    route('10.2.0.0/16', [
      'nexthop',
      'via',
      '10.77.0.1',
      'dev',
      'eth0',
      'nexthop',
      'via',
      '10.77.0.2',
      'dev',
      'eth0',
    ]),
  ],
  rules: [
    { family: 'inet', priority: 100, args: ['from', '10.77.0.10', 'lookup', '100'] },
    { family: 'inet6', priority: 101, args: ['from', 'all', 'iif', 'eth0', 'lookup', '100'] },
  ],
  neighbours: [
    neighbour('10.77.0.9', 'permanent'),
    neighbour('fd77::9', 'permanent', { router: true }),
    neighbour('10.77.0.1', 'reachable'),
    neighbour('10.77.0.77', 'permanent', { proxy: true }),
  ],
  qdiscs: [{ kind: 'pfifo', handle: '7:', parent: 'root', args: ['limit', '123'] }],
  multicast: [{ family: 'link', address: '33:33:00:00:00:77', users: 1, static: true }],
  sysctls: [
    { path: 'ipv4/conf/{dev}/rp_filter', value: '2' },
    { path: 'ipv6/conf/{dev}/accept_dad', value: '1' },
    { path: 'ipv6/neigh/{dev}/gc_stale_time', value: '61' },
  ],
});

/** All that a replay restores, without what runs or is learned. */
const DUMP = `
ip -o link show dev eth0 | sed 's/^[0-9]*: //; s/ qdisc .*//; s/@[^:]*//'
ip -o addr show dev eth0 | sed 's/^[0-9]*: //; s/ valid_lft.*//'
ip route show table all dev eth0; ip -6 route show table all dev eth0; ip route show 10.2.0.0/16
ip rule; ip -6 rule; ip neigh show nud permanent; ip neigh show proxy
tc qdisc show dev eth0 root | sed 's/refcnt.*limit/limit/'; ip maddr show dev eth0 | sed 's/^[0-9]*://' | sort
cat /proc/sys/net/ipv4/conf/eth0/rp_filter /proc/sys/net/ipv6/neigh/eth0/gc_stale_time /proc/sys/net/ipv6/conf/eth0/accept_dad
`;

const PLUG = `ip link add eth7 address ${LINK.mac} type veth peer name wire`;

test('a device that arrives gets all that the shadow says, before it has a link', options, async () => {
  const kernel = new Kernel();
  try {
    await kernel.ready();
    // only here: a kernel that has lost such an address with the link does not let it join again
    const joining = address('ff15::55', { prefix: 128, flags: ['autojoin'] });
    const addresses = [...given.addresses, joining];
    await kernel.start(planReplay({ ...given, addresses }, { continuity: 'replay' }));
    await kernel.sh(PLUG);
    const replayed = await kernel.log.event('replayed');
    assert.equal(replayed.e === 'replayed' && replayed.failed, 0, JSON.stringify(kernel.log.events()));
    assert.ok(!kernel.log.events().some(({ e }) => e === 'carrier'));
    await kernel.sh('ip link set wire up');
    await kernel.log.event('done');
    assert.deepEqual(
      kernel.log
        .events()
        .map(({ e }) => e)
        .filter((e) => e !== 'stage' && e !== 'batch'),
      ['ready', 'seen', 'claimed', 'replayed', 'carrier', 'active', 'done'],
    );
    const dump = await kernel.sh(DUMP);
    for (const text of [
      'mtu 1400',
      'inet 10.77.0.10/24 brd 10.77.0.255 scope global eth0\\',
      'inet 10.77.0.11/24 scope global secondary eth0:b',
      'inet 10.88.0.1 peer 10.88.0.2/32',
      'inet6 fd77::10/64 scope global nodad dynamic noprefixroute',
      'default via 10.77.0.1 proto static metric 100',
      'default via fe80::77 metric 200',
      '10.1.0.0/16 via 192.0.2.1 table 100',
      'nexthop via 10.77.0.2 dev eth0 weight 1',
      '100:\tfrom 10.77.0.10 lookup 100',
      '101:\tfrom all iif eth0 lookup 100',
      '10.77.0.9 dev eth0 lladdr 52:54:00:00:00:99 PERMANENT',
      'fd77::9 dev eth0 lladdr 52:54:00:00:00:99 router PERMANENT',
      '10.77.0.77 dev eth0 proxy',
      'qdisc pfifo 7: root limit 123p',
      'link  33:33:00:00:00:77 static',
      'inet  239.5.5.5',
      'inet6 ff15::55',
      '\n2\n61\n1\n',
    ]) {
      assert.ok(dump.includes(text), `no "${text}" in:\n${dump}`);
    }
    assert.doesNotMatch(dump, /tentative/);
    // a learned neighbour is there without having been asked for
    assert.match(await kernel.sh('ip neigh show 10.77.0.1'), /52:54:00:00:00:99/);
  } finally {
    await kernel.end();
  }
});

test('a replay that is repeated changes nothing', options, async () => {
  const kernel = new Kernel();
  try {
    await kernel.ready();
    await kernel.start(planReplay(given, { continuity: 'replay' }));
    await kernel.sh(`${PLUG}; ip link set wire up`);
    await kernel.log.event('done');
    const before = await kernel.sh(DUMP);
    kernel.command('attach');
    const again = await kernel.log.event('replayed', 2);
    assert.equal(again.e === 'replayed' && again.failed, 0, JSON.stringify(kernel.log.events()));
    await kernel.log.event('done', 2);
    assert.equal(await kernel.sh(DUMP), before);
  } finally {
    await kernel.end();
  }
});

test('a device that goes is missed, and the next one takes its place', options, async () => {
  const kernel = new Kernel();
  try {
    await kernel.ready();
    await kernel.start(planReplay(given, { continuity: 'replay' }));
    await kernel.sh(`${PLUG}; ip link set wire up`);
    await kernel.log.event('done');
    const before = await kernel.sh(DUMP);
    await kernel.sh('ip link del eth0');
    await kernel.log.event('gone');
    // one with another MAC at the same place is not it
    await kernel.sh(
      `ip link add eth8 address 52:54:00:00:00:02 type veth peer name other; ${PLUG}; ip link set wire up`,
    );
    await kernel.log.event('done', 2);
    assert.equal(await kernel.sh(DUMP), before);
    assert.deepEqual(
      kernel.log.events().flatMap((event) => (event.e === 'seen' ? [event.dev] : [])),
      ['eth7', 'eth7'],
    );
  } finally {
    await kernel.end();
  }
});

test(
  "a device that was born with another's name gets out of the way, and gets its own when that is free",
  options,
  async () => {
    const kernel = new Kernel();
    try {
      await kernel.ready();
      await kernel.start(planReplay(given, { continuity: 'replay' }));
      // the other has our name, and wants the one that we are born with
      await kernel.sh('ip link add eth0 address 52:54:00:00:00:02 type veth peer name other');
      await kernel.sh(`${PLUG}; ip link set wire up`);
      await kernel.log.event('seen');
      const signal = deadline('the name eth7 to be free', 10_000);
      while ((await kernel.sh('ip -o link')).includes(' eth7@')) signal.throwIfAborted();
      assert.ok(!kernel.log.events().some(({ e }) => e === 'claimed' || e === 'failed'));
      await kernel.sh('ip link set dev eth0 name eth7');
      await kernel.log.event('done');
      const names = await kernel.sh('ip -o link');
      assert.match(names, /eth0@[^\n]*52:54:00:00:00:01/);
      assert.match(names, /eth7@[^\n]*52:54:00:00:00:02/);
      assert.ok(!kernel.log.events().some(({ e }) => e === 'failed'));
    } finally {
      await kernel.end();
    }
  },
);

test('a name that stays taken is told', options, async () => {
  const kernel = new Kernel();
  try {
    await kernel.ready();
    await kernel.start(planReplay(given, { continuity: 'replay' }));
    await kernel.sh('ip link add eth0 address 52:54:00:00:00:02 type veth peer name other');
    await kernel.sh(PLUG);
    const failed = await kernel.log.event('failed');
    assert.match(failed.e === 'failed' ? failed.err : '', /eth0 is taken by another interface/);
  } finally {
    await kernel.end();
  }
});
