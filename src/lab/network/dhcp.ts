/** A DHCP server outside, where the VMs' peers are: dnsmasq, with leases short enough to see them renewed. */
import { readFileSync } from 'node:fs';
import type { Lab } from '../lab.ts';
import { startDnsmasq } from './dnsmasq.ts';
import { segment } from './names.ts';

/** A lease, and the age at which a client renews it, seconds: soon, so that it is seen, and long before the end. */
const LEASE_SECONDS = 600;
export const RENEWAL_SECONDS = 45;
/** Of the lease; then a client asks any server. */
const REBINDING = 5 / 6;

export interface Lease {
  /** Seconds since 1970 at which it ends. */
  expires: number;
  mac: string;
  address: string;
  clientId: string;
}

/** Parses dnsmasq's file of leases: `EXPIRES MAC ADDRESS NAME CLIENT-ID`. */
export function parseLeases(text: string): Lease[] {
  return text.split('\n').flatMap((line) => {
    const [expires, mac, address, , clientId] = line.split(' ');
    return expires && mac && address && clientId
      ? [{ expires: Number(expires), mac, address, clientId }]
      : [];
  });
}

export interface DhcpServer {
  leases(): Lease[];
  /** What clients asked and were answered since the start: `DHCPDISCOVER`, `DHCPREQUEST`, `DHCPACK`…, in order. */
  exchanges(): string[];
}

/**
 * Starts the server on the lab's networks; it ends with the lab. Addresses are the server's choice: .100 to .199.
 * @param leaseSeconds 120 at least; for a client that does not heed the server's word of when to renew
 */
export function startDhcpServer(lab: Lab, leaseSeconds = LEASE_SECONDS): DhcpServer {
  const { leaseFile, said } = startDnsmasq(lab, {
    name: 'dhcp',
    args: [
      // each network's router is the server itself
      ...lab.networks.flatMap((_, n) => {
        const { switch: device, subnet } = segment(n);
        const range = `10.${subnet}.0.100,10.${subnet}.0.199`;
        return [`--interface=${device}`, `--dhcp-range=${range},${leaseSeconds}`];
      }),
      `--dhcp-option=option:T1,${RENEWAL_SECONDS}`,
      `--dhcp-option=option:T2,${Math.floor(leaseSeconds * REBINDING)}`,
      '--dhcp-authoritative',
      '--no-ping',
    ],
  });
  return {
    leases() {
      try {
        return parseLeases(readFileSync(leaseFile, 'utf8'));
      } catch {
        return [];
      }
    },
    exchanges: () => [...said().matchAll(/\b(DHCP[A-Z]+)\(/g)].map(([, word]) => word ?? ''),
  };
}
