/**
 * While a VM has no device, its peers' TCP retransmits into the void and backs off, so that the connection stays dead
 * for up to twice the gap. RFC 6069 (TCP-LCD) says that a retransmission answered with "host unreachable" tells of a
 * broken path, not of congestion, and takes one step of the back-off back; Linux does so. So the hosts answer for the
 * absent VM, and its peers try again every 200 ms until it is back.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { ShadowferryError } from '../errors.ts';

/** A NIC of a VM that has no device for now, and the network that the VM is missing from. */
export interface Absent {
  vm: string;
  nic: string;
  network: string;
}

/** What the table of a NIC is called; one per NIC, so that it can be removed by name after a crash. */
export function tableName({ vm, nic }: Pick<Absent, 'vm' | 'nic'>): string {
  const known = /^[a-z][a-z0-9-]*$/;
  if (!known.test(vm) || !known.test(nic)) {
    throw new ShadowferryError('INTERNAL', { why: `"${vm}" or "${nic}" is no name for a rule` });
  }
  return `shadowferry-${vm}.${nic}`;
}

/**
 * nftables rules that answer TCP segments for the addresses where they come in from the network.
 * Segments that open or reset a connection pass: a connection being opened would fail at once on "unreachable",
 * while one that is open takes it as a hint (RFC 1122, 4.2.3.9).
 * @param devices the interfaces that the VM's traffic comes in by, at least one
 * @throws ShadowferryError INTERNAL for what is no address or no interface name; nothing else gets into the text.
 */
export function unreachableRules(
  absent: Pick<Absent, 'vm' | 'nic'>,
  devices: readonly string[],
  addresses: readonly string[],
): string {
  const table = `netdev ${tableName(absent)}`;
  for (const device of devices) {
    if (/^[A-Za-z0-9_.-]{1,15}$/.test(device)) continue;
    throw new ShadowferryError('INTERNAL', { why: `"${device}" is no name for a rule` });
  }
  const rules = addresses.map((address) => {
    const [family, answer] = isIPv4(address)
      ? ['ip', 'icmp type host-unreachable']
      : ['ip6', 'icmpv6 type no-route'];
    // an address with a zone (fe80::1%eth0) is of one link, and a zone is free text
    if (!isIPv4(address) && (!isIPv6(address) || address.includes('%'))) {
      throw new ShadowferryError('INTERNAL', { why: `"${address}" is no address` });
    }
    return `add rule ${table} in ${family} daddr ${address} tcp flags & (syn | rst) == 0 reject with ${answer}`;
  });
  const names = devices.map((device) => `"${device}"`).join(', ');
  const where = devices.length === 1 ? `device ${names}` : `devices = { ${names} }`;
  const chain = `add chain ${table} in { type filter hook ingress ${where} priority -300; }`;
  // made anew, as it may have been made for other devices
  return `${[`add table ${table}`, `delete table ${table}`, `add table ${table}`, chain, ...rules].join('\n')}\n`;
}

/** Rules that remove what `unreachableRules` made, whether or not it is there. */
export function removalRules(absent: Pick<Absent, 'vm' | 'nic'>): string {
  const table = `netdev ${tableName(absent)}`;
  return `add table ${table}\ndelete table ${table}\n`;
}
