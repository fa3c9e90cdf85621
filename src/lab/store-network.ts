/** The network between the lab's hosts and the store of ownership: a link of each host, apart from all other traffic. */
import { awaitCarrier } from './network/carrier.ts';
import { ipBatch } from './network/ip.ts';
import { namespaceName } from './network/names.ts';

/** The member of the lab in whose namespace the store's processes are. */
export const STORE = 'store';
const SWITCH = 'st0';
/** A host's end of its link. */
const LINK = 'store0';
const PREFIX = '10.79.0';

/** Address of the store's process number `n`. */
export const storeAddress = (n: number): string => `${PREFIX}.${11 + n}`;

export interface StoreNetwork {
  netns: string;
  /** Takes the carrier from a host's link, as if its cable were pulled. Cutting a cut link does nothing. */
  cut: (host: string) => Promise<void>;
  restore: (host: string) => Promise<void>;
}

/** The port of the switch that a host's link ends in. */
const portOf = (host: string): string => `st-${host}`;

/**
 * Adds the network to a lab that stands; it goes with the lab.
 * @param members how many addresses the store has
 */
export async function addStoreNetwork(
  lab: string,
  hosts: readonly string[],
  members: number,
): Promise<StoreNetwork> {
  const netns = namespaceName(lab, STORE);
  const up = (name: string) => [`link set dev ${name} addrgenmode none`, `link set dev ${name} up`];
  await ipBatch(undefined, [
    `netns add ${netns}`,
    // ends with different indexes: the kernel notices their carrier at once
    ...hosts.map(
      (host, n) =>
        `link add name ${LINK} index ${200 + 2 * n} netns ${namespaceName(lab, host)} type veth ` +
        `peer name ${portOf(host)} index ${201 + 2 * n} netns ${netns}`,
    ),
  ]);
  await ipBatch(netns, ['link set dev lo up', ...hosts.flatMap((host) => up(portOf(host)))]);
  for (const [n, host] of hosts.entries()) {
    await ipBatch(namespaceName(lab, host), [...up(LINK), `addr add ${PREFIX}.${n + 1}/24 dev ${LINK}`]);
  }
  await awaitCarrier(netns, hosts.map(portOf));
  await ipBatch(netns, [
    `link add name ${SWITCH} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    ...hosts.map((host) => `link set dev ${portOf(host)} master ${SWITCH}`),
    ...up(SWITCH),
    ...Array.from({ length: members }, (_, n) => `addr add ${storeAddress(n)}/24 dev ${SWITCH}`),
  ]);
  return {
    netns,
    cut: (host) => ipBatch(netns, [`link set dev ${portOf(host)} down`]),
    async restore(host) {
      await ipBatch(netns, [`link set dev ${portOf(host)} up`]);
      await awaitCarrier(netns, [portOf(host), SWITCH]);
    },
  };
}
