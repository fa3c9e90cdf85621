/**
 * What depends on an interface's index: sockets bound to it, groups that programs joined, nftables rules. And a guest with
 * IPv6 alone, over which the connections of the whole walk go. A program that lost something is told by name.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { exec } from '../../src/base/exec.ts';
import { GUEST_ADDRESS6, GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import { OUTSIDE_ADDRESS6 } from '../../src/lab/network/names.ts';
import { type Probes, startProbes, UNHURRIED } from '../../src/lab/probe/probes.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import type { Continuity } from '../../src/shadow/net/plan-model.ts';
import { assertSurvived, CACHE, inGuest, MIGRATION_MS, moveOver } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const GROUP = 'ff15::5:5';
const QUIET_MS = 500;

/** One program that joined a group, one that bound its socket to the interface, one that hears all frames of a kind. */
const PROGRAMS = `
for old in /run/dep.*; do
  [ -e "$old" ] || continue
  kill "$(cat "$old")" 2>/dev/null
done
: >/run/heard
start() {
  name=$1
  shift
  "$@" </dev/null >/dev/null 2>&1 &
  echo $! >"/run/dep.$name"
}
start group socat -u 'UDP6-RECV:5001,ipv6-join-group=[${GROUP}]:${GUEST_INTERFACE}' OPEN:/run/heard,append
start bound socat -u UDP6-RECV:5002,so-bindtodevice=${GUEST_INTERFACE} OPEN:/run/bound,creat,append
n=0
until ss -H -u -a -n | grep -q ':5002' && ip maddress show dev ${GUEST_INTERFACE} | grep -q '${GROUP}'; do
  n=$((n + 1)); [ $n -lt 100 ] || exit 1
  sleep 0.1
done
`;

const RULES = `
nft -f - <<'END'
table inet f {
  set s { type iface_index; elements = { "${GUEST_INTERFACE}" }; }
  flowtable ft { hook ingress priority 0; devices = { ${GUEST_INTERFACE} }; }
  chain in {
    type filter hook input priority 0; policy accept;
    iif "${GUEST_INTERFACE}" tcp dport 99 accept comment "iif; it's # 5"
    iifname "${GUEST_INTERFACE}" tcp dport 98 accept
    iif { "lo", "${GUEST_INTERFACE}" } tcp dport 97 accept
    iif vmap { "lo" : accept, "${GUEST_INTERFACE}" : accept }
  }
}
table netdev n {
  chain ing {
    type filter hook ingress device "${GUEST_INTERFACE}" priority 0; policy accept;
    ip6 saddr fd77::bad drop
    ip6 saddr fd77::bee drop
  }
}
END
`;

/** Sends to the group until something is heard, or said to have had its time. */
const SEND = `
const socket = require('node:dgram').createSocket('udp6');
const all = Object.entries(require('node:os').networkInterfaces());
const [name] = all.find(([, addresses]) => addresses.some(({ address }) => address === process.argv[2]));
socket.bind(() => {
  socket.setMulticastInterface('::%' + name);
  socket.setMulticastTTL(4);
  let left = 20;
  const timer = setInterval(() => {
    if (left-- === 0) { clearInterval(timer); socket.close(); }
    else socket.send('x', 5001, process.argv[1]);
  }, 50);
});
`;

describe('what depends on the interface, with IPv6 alone', needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let probes: Probes;
  let rules: string;

  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: ['e1000e'], b: ['vmxnet3'] }, log: console.log });
    vm = await lab.boot({ setup: { extra: '$ip -4 address flush dev "$dev"' } });
    const target = GUEST_ADDRESS6;
    probes = startProbes({ ...UNHURRIED, enter: lab.outside([]), target });
    await probes.ready;
    await inGuest(vm, RULES);
    rules = await ruleSet();
    await delay(QUIET_MS);
  });

  after(async () => {
    probes?.kill();
    await lab?.dispose();
  });

  /** Without handles: a rule that is replaced has another. */
  const ruleSet = (): Promise<string> => inGuest(vm, 'nft list ruleset');

  async function move(continuity: Continuity): Promise<MigrationResult> {
    const moved = await moveOver(lab, vm, { continuity });
    vm = moved.vm;
    return moved.result;
  }

  const lost = ({ shadow }: MigrationResult): string[] =>
    shadow.lost.filter(({ key }) => key.startsWith('dependent.')).map(({ key }) => key);

  /** Whether the program that joined the group hears what is sent to it from outside. */
  async function hears(): Promise<boolean> {
    await inGuest(vm, ': >/run/heard');
    const [node, script] = [process.execPath, `${SEND}`];
    await exec(lab.outside([node, '-e', script, GROUP, OUTSIDE_ADDRESS6]), {
      signal: deadline('sending to the group', 30_000),
    });
    return (await inGuest(vm, 'cat /run/heard')).length > 0;
  }

  const DEPENDENTS = [
    `dependent.multicast.${GUEST_INTERFACE}.${GROUP}`,
    `dependent.socket.${GUEST_INTERFACE}.udp *:5002`,
  ];

  for (const continuity of ['replay', 'bridge'] as const) {
    it(`is told of, and the firewall is bound anew: ${continuity} from a bare interface`, {
      timeout: MIGRATION_MS,
    }, async () => {
      await inGuest(vm, PROGRAMS);
      assert.equal(await hears(), true);
      const result = await move(continuity);
      assert.deepEqual(lost(result), DEPENDENTS);
      assert.ok(result.warnings.some((text) => text.includes('socat') && text.includes('5002')));
      const once = continuity === 'bridge';
      assert.equal(
        result.warnings.some((text) => text.includes(GROUP) && text.includes('this time only')),
        once,
      );
      assert.equal(await ruleSet(), rules);
    });
  }

  for (const continuity of ['bridge', 'hold'] as const) {
    it(`lives on above a shadow interface: ${continuity}`, { timeout: MIGRATION_MS }, async () => {
      await inGuest(vm, PROGRAMS);
      assert.equal(await hears(), true);
      assert.deepEqual(lost(await move(continuity)), []);
      assert.equal(await hears(), true);
      assert.equal(await ruleSet(), rules);
    });
  }

  it('connections over IPv6 lived through all of it', async () => {
    await delay(QUIET_MS);
    assertSurvived(await probes.stop());
  });
});
