/** Cases of the driver's settings. */
import type { AttributeCase } from './case.ts';

const feature = (name: string, word: string, on: boolean): AttributeCase => ({
  key: `feature.${name}`,
  set: `ethtool -K "$dev" ${word} ${on ? 'on' : 'off'}`,
  read: `ethtool -k "$dev" | grep -e '^${name}:' | sed 's/ \\[.*//'`,
});

/** What e1000e and vmxnet3 both have. */
export const DRIVER_CASES: readonly AttributeCase[] = [
  feature('generic-receive-offload', 'gro', false),
  feature('rx-vlan-offload', 'rxvlan', false),
  {
    key: 'ring.rx',
    set: 'ethtool -G "$dev" rx 512',
    read: `ethtool -g "$dev" | grep '^RX:' | tail -n 1 | tr -d '\\t '`,
  },
];

/** What virtio-net does not have. */
export const DRIVER_LOSSES: readonly AttributeCase[] = [
  {
    key: 'coalesce.rx-usecs',
    set: 'ethtool -C "$dev" rx-usecs 50',
    read: `ethtool -c "$dev" 2>&1 | grep '^rx-usecs:' || echo none`,
    expect: { fate: 'lost', why: /has no coalescing|not supported/i },
  },
  {
    key: 'pause.rx',
    set: 'ethtool -A "$dev" autoneg off rx off tx off',
    read: `ethtool -a "$dev" 2>&1 | grep '^RX:' || echo none`,
    expect: { fate: 'lost', why: /does not report pause|has no pause/ },
  },
];
