/** An IPv6 router outside, where the VMs' peers are: dnsmasq, which advertises itself and the prefix of the network. */
import type { Lab } from '../lab.ts';
import { startDnsmasq } from './dnsmasq.ts';
import { DEVICE } from './names.ts';

/** How often it says so unasked, seconds: the least that dnsmasq takes. In its first minute it may let 20 pass. */
export const ADVERTISED_EVERY_SECONDS = 4;
/** For how long what it said holds, of itself and of the prefix, seconds; the latter is the least that dnsmasq takes. */
export const ROUTER_SECONDS = 30;
export const PREFIX_SECONDS = 120;

/** Starts the router on the lab's first network, where it is fe80::1 and the prefix fd77::/64; it ends with the lab. */
export function startRouter(lab: Lab): void {
  const args = [
    `--interface=${DEVICE.switch}`,
    '--enable-ra',
    `--dhcp-range=fd77::,ra-only,64,${PREFIX_SECONDS}`,
    `--ra-param=${DEVICE.switch},${ADVERTISED_EVERY_SECONDS},${ROUTER_SECONDS}`,
  ];
  startDnsmasq(lab, { name: 'router', args });
}
