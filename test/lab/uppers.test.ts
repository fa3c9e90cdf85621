/**
 * What stands on the interface, and lives on what it has: VLANs, macvlan, ipvlan, tunnels, nexthop objects. A second
 * guest is the peer, as not every machine's kernel can make these. One walk goes through all ways to move. Nothing talks
 * over the VLAN on a VLAN: kernels without VLANs, as the machine's may be, do not bridge its frames.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { guestPciPath } from '../../src/hypervisor/qemu/pci.ts';
import { channelPorts, nicIds } from '../../src/hypervisor/qemu/spec.ts';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import { channelOf, type RunningVm } from '../../src/migration/vm.ts';
import { giveBackInterface } from '../../src/shadow/net/adopt.ts';
import type { Outcome } from '../../src/shadow/net/model.ts';
import type { Continuity } from '../../src/shadow/net/plan-model.ts';
import { CACHE, inGuest, lookIntoGuest, MIGRATION_MS, moveOver } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

/** $1 is the guest's own part of every address, $2 its peer's. */
const STACK = `
me=$1 you=$2 dev=$3
ip link add link "$dev" name v10 type vlan id 10 egress-qos-map 2:3 ingress-qos-map 4:5
ip link add link v10 name v10.20 type vlan id 20
ip link add link "$dev" name v11 type vlan id 11
ip link set v11 up
ip link add link v11 name iv0 type ipvlan mode l2
ip link add link "$dev" name mv0 type macvlan mode bridge
ip link add vx0 type vxlan id 42 local 10.77.0.$me remote 10.77.0.$you dev "$dev" dstport 4789
ip link add gr1 type gre local 10.77.0.$me remote 10.77.0.$you dev "$dev" ttl 9 key 7
for name in v10 v10.20 iv0 mv0 vx0 gr1; do ip link set "$name" up; done
ip address add 10.10.0.$me/24 dev v10
ip address add fd10::$me/64 dev v10 nodad
ip address add 10.20.0.$me/24 dev v10.20
ip address add 10.30.0.$me/24 dev iv0
ip address add 10.40.0.$me/24 dev mv0
ip address add 10.42.0.$me/24 dev vx0
ip address add 10.43.0.$me/24 dev gr1
umask 077
wg genkey >/run/wg.key
ip link add wg0 type wireguard
wg set wg0 listen-port 51820 private-key /run/wg.key
ip address add 10.44.0.$me/24 dev wg0
ip link set wg0 up
wg show wg0 public-key
`;

/** State on the uppers that only the guest has, some of it free text. */
const ODD = `
ip link set v10 alias "one; 'two'" mtu 1400
ip route add 192.0.2.128/25 via 10.10.0.20 dev v10 metric 7
ip route add 198.51.100.0/24 dev v10.20 table 88
ip rule add iif v10 lookup 88 priority 88
ip neighbour add 10.10.0.99 lladdr 02:00:00:00:00:99 dev v10 nud permanent
bridge fdb append 02:00:00:00:00:42 dev vx0 dst 10.77.0.21
tc qdisc replace dev v10 root handle 9: fq_codel limit 3000
echo 2 >/proc/sys/net/ipv4/conf/v10/rp_filter
ip nexthop add id 5 via 10.77.0.20 dev ${GUEST_INTERFACE}
ip nexthop add id 6 via 10.10.0.20 dev v10 proto static
ip nexthop add id 10 group 5,2/6
ip route add 203.0.113.0/25 nhid 5 metric 9
ip route add 203.0.113.128/25 nhid 10
`;

/** What the peer reaches the guest by. */
const WAYS: Record<string, string> = {
  device: 'TCP4:10.77.0.10',
  vlan: 'TCP4:10.10.0.10',
  vlan6: 'TCP6:[fd10::10]',
  'ipvlan on a vlan': 'TCP4:10.30.0.10',
  macvlan: 'TCP4:10.40.0.10',
  vxlan: 'TCP4:10.42.0.10',
  gre: 'TCP4:10.43.0.10',
  wireguard: 'TCP4:10.44.0.10',
};

/** Connections to an echo service, through each of which goes a number twice a second. */
const TALK = `
mkdir -p /run/talk; cd /run/talk
n=0
for way in "$@"; do
  n=$((n + 1))
  mkfifo "in.$n"
  socat -t 100 "$way:7,connect-timeout=20" STDIO <>"in.$n" >"out.$n" 2>"err.$n" &
  echo $! >"pid.$n"
done </dev/null >/dev/null 2>&1
cat >talk.sh <<'END'
cd /run/talk
i=0
while sleep 0.5; do
  i=$((i + 1))
  for to in in.*; do echo "$i" 1<>"$to"; done
  echo "$i" >now
done
END
sh talk.sh </dev/null >/dev/null 2>&1 &
`;

/** For each way: what was said last, what was answered last, and whether all answers came once and in order. */
const TALKED = `
cd /run/talk
read -r now <now || now=0
echo "now $now"
for out in out.*; do
  last=$(tail -n 1 "$out")
  order=jumbled
  if [ "$(head -n "\${last:-0}" "$out" | cksum)" = "$(seq 1 "\${last:-0}" | cksum)" ]; then order=whole; fi
  echo "\${out#out.} \${last:-0} $order $(cat "err.\${out#out.}")"
done
`;

const UPPERS = ['v10', 'v10.20', 'v11', 'iv0', 'mv0', 'vx0', 'gr1'];

/** How ip describes what is peculiar to each, its MAC, and the nexthops. */
const DESCRIBE = `
for name in ${UPPERS.join(' ')}; do
  ip -d -o link show dev "$name" | sed -e 's/^[0-9]*: //' -e 's/promiscuity [0-9]* *//' -e 's/allmulti [0-9]* *//' \
    -e 's/ state [A-Z]* / /' -e 's/minmtu [0-9]* maxmtu [0-9]* *//' -e 's/ numtxqueues.*gro_max_size [0-9]*//'
done
bridge fdb show dev vx0 | sort
ip nexthop
ip -4 route show table all | grep -e nhid -e ' dev v10' | sed 's/ linkdown//g'
ip rule | grep 'iif v10'
`;

describe('what stands on the interface', needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let peer: RunningVm;
  let asMade: string[];

  async function look(): Promise<string[]> {
    const lines = (await inGuest(vm, DESCRIBE)).split('\n').map((line) => line.trim());
    for (const name of UPPERS) {
      const { configured } = await lookIntoGuest(vm, name);
      for (const [section, each] of Object.entries(configured)) {
        lines.push(...each.map((line) => `${name} ${section}: ${line}`));
      }
    }
    return lines;
  }

  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: ['e1000e'], b: ['vmxnet3'] }, log: console.log });
    const move = '$ip address flush dev "$dev"; $ip address add 10.77.0.20/24 dev "$dev"';
    const setup = { plain: true, extra: move };
    peer = await lab.boot({ name: 'peer', host: 'b', device: null, mac: '52:54:00:5f:00:20', setup });
    vm = await lab.boot();
    const theirs = (await inGuest(peer, STACK, ['20', '10', GUEST_INTERFACE])).trim();
    const mine = (await inGuest(vm, STACK, ['10', '20', GUEST_INTERFACE])).trim();
    const meet = 'wg set wg0 peer "$1" endpoint "$2:51820" allowed-ips 10.44.0.0/24';
    await inGuest(vm, meet, [theirs, '10.77.0.20']);
    await inGuest(peer, meet, [mine, '10.77.0.10']);
    await inGuest(peer, TALK, Object.values(WAYS));
    await talks();
    await inGuest(vm, ODD); // with a link: without one the kernel takes no nexthop objects
    asMade = await look();
  });

  after(async () => {
    await lab?.dispose();
  });

  /** Every way answers what is said from now on, and has answered all that was ever said, once and in order. */
  async function talks(): Promise<void> {
    const patience = deadline('answers by every way', 60_000);
    let want: number | undefined;
    for (;;) {
      const [now = '', ...each] = (await inGuest(peer, TALKED)).trim().split('\n');
      want ??= Number(now.split(' ')[1]) + 2;
      const goal = want;
      const silent = Object.keys(WAYS).filter((_, at) => {
        const line = each.find((text) => text.startsWith(`${at + 1} `));
        const [, last = '0', order] = line?.split(' ') ?? [];
        return Number(last) < goal || order !== 'whole';
      });
      if (silent.length === 0) return;
      if (patience.aborted) assert.fail(`silent: ${silent.join(', ')}\n${each.join('\n')}`);
      await delay(500);
    }
  }

  async function move(continuity: Continuity): Promise<MigrationResult> {
    const moved = await moveOver(lab, vm, { continuity });
    vm = moved.vm;
    return moved.result;
  }

  /** Lost keys but for what another device does not have, with the reason. */
  const lost = (outcomes: readonly Outcome[]): string[] =>
    outcomes
      .flatMap((one) => (one.fate === 'lost' ? [`${one.key}: ${one.why}`] : []))
      .filter((text) =>
        /^(link|address|route|rule|neighbour|sysctl|qdisc|multicast|nexthop|upper)\b/.test(text),
      )
      .toSorted();

  const anew = [
    'link.ifindex',
    ...['gr1', 'iv0', 'mv0', 'v10', 'v10.20', 'v11', 'vx0'].map((n) => `upper.${n}/link.ifindex`),
  ]
    .filter((key) => key !== 'upper.gr1/link.ifindex') // a tunnel is only bound anew
    .map((key) => `${key}: the interface was made anew`)
    .toSorted();

  it('is made again with the interface in replay', { timeout: MIGRATION_MS }, async () => {
    const result = await move('replay');
    assert.deepEqual(lost(result.shadow.lost), anew);
    await talks();
    assert.deepEqual(await look(), asMade);
  });

  it('moves onto the shadow interface when that is made', { timeout: MIGRATION_MS }, async () => {
    const result = await move('bridge');
    assert.deepEqual(lost(result.shadow.lost), anew);
    await talks();
    assert.deepEqual(await look(), asMade);
  });

  it('stays on a shadow interface', { timeout: MIGRATION_MS }, async () => {
    assert.deepEqual(lost((await move('bridge')).shadow.lost), []);
    await talks();
    assert.deepEqual(await look(), asMade);
  });

  it('stays on one that is without any device for a while, and nexthops come back', {
    timeout: MIGRATION_MS,
  }, async () => {
    assert.deepEqual(lost((await move('hold')).shadow.lost), []);
    await talks();
    assert.deepEqual(await look(), asMade);
  });

  it('moves back to the device when the shadow interface is given up', {
    timeout: MIGRATION_MS,
  }, async () => {
    const [nic] = vm.qemu.spec.nics;
    assert.ok(nic);
    const { directPort, standbyPort } = nicIds(nic);
    const port = channelPorts(vm.qemu.spec, vm.qemu.directory)[0]?.guestPath;
    assert.ok(port !== undefined);
    const { outcomes } = await giveBackInterface({
      agent: vm.agent,
      channel: channelOf(vm, nic.id),
      identity: { mac: nic.mac, pciPath: await guestPciPath(vm.qemu.monitor, directPort) },
      standbyPciPath: await guestPciPath(vm.qemu.monitor, standbyPort),
      dir: '/run/shadowferry/net0',
      port,
      signal: deadline('giving back', 20_000),
    });
    await talks();
    assert.deepEqual(await look(), asMade);
    assert.deepEqual(lost(outcomes), anew);
  });
});
