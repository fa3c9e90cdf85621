/** Cases of what depends on the interface's index. */
import { GUEST_INTERFACE } from '../../../src/lab/guest-setup.ts';
import type { AttributeCase } from './case.ts';

/** Starts a program that stays, and waits until it is seen. */
const start = (program: string, seen: string): string =>
  `${program} </dev/null >/dev/null 2>&1 &
n=0; until ${seen} | grep -q .; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.1; done`;

const BOUND = 'ss -H -u -a -n | grep ":6001 " | tr -s " "';
const PACKET = 'ss -H -0 -a -n | grep "p_raw" | tr -s " "';
const JOINED = 'ip maddress show dev "$dev" 2>/dev/null | grep -F 239.6.6.6';
const RULE = 'nft list ruleset | grep "iif "';

/** A container's interface: lives on above a shadow interface. */
export const ELSEWHERE: AttributeCase = {
  key: `dependent.upper.${GUEST_INTERFACE}.macvlan mv7 in blue`,
  set: 'ip netns add blue; ip link add link "$dev" name mv7 netns blue type macvlan',
  read: 'ip -n blue -o link 2>/dev/null | grep -o mv7',
};

export const DEPENDENT_CASES: readonly AttributeCase[] = [
  {
    key: `dependent.socket.${GUEST_INTERFACE}.udp 0.0.0.0:6001`,
    set: start('socat -u UDP4-RECV:6001,so-bindtodevice="$dev" /dev/null', BOUND),
    read: BOUND,
    expect: { fate: 'lost', why: /index that is gone: its program must bind it anew/ },
  },
  {
    key: `dependent.packet-socket.${GUEST_INTERFACE}.p_raw *`,
    set: start('socat -u INTERFACE:"$dev" /dev/null', PACKET),
    read: PACKET,
    expect: { fate: 'lost', why: /its program must open it anew/ },
  },
  {
    key: `dependent.multicast.${GUEST_INTERFACE}.239.6.6.6`,
    set: start('socat -u UDP4-RECV:6002,ip-add-membership=239.6.6.6:"$dev" /dev/null', JOINED),
    read: JOINED,
    expect: { fate: 'lost', why: /its program must join again/ },
  },
  {
    ...ELSEWHERE,
    expect: { fate: 'lost', why: /it ends with the interface that it stands on/ },
  },
  {
    key: `dependent.firewall.${GUEST_INTERFACE}.rule inet t c: iif "${GUEST_INTERFACE}" tcp dport 9 accept`,
    set: `nft add table inet t
nft add chain inet t c '{ type filter hook input priority 0; }'
nft add rule inet t c iif "$dev" tcp dport 9 accept`,
    read: RULE,
  },
];
