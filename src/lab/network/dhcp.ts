/** A DHCP server outside, where the VMs' peers are: dnsmasq, with leases short enough to see them renewed. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnDetached } from '../../base/process.ts';
import { ShadowferryError } from '../../errors.ts';
import type { Lab } from '../lab.ts';
import { segment } from './names.ts';

/** A lease, and the age at which a client renews it, seconds: soon, so that it is seen, and long before the end. */
const LEASE_SECONDS = 600;
export const RENEWAL_SECONDS = 45;
const REBINDING_SECONDS = 500;

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

/** Starts the server on the lab's networks; it ends with the lab. Addresses are the server's choice: .100 to .199. */
export function startDhcpServer(lab: Lab): DhcpServer {
  const leaseFile = join(lab.directory, 'dhcp.leases');
  const log = join(lab.directory, 'dhcp.log');
  const argv = lab.outside([
    'dnsmasq',
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--user=',
    '--pid-file=',
    '--port=0',
    '--bind-interfaces',
    // each network's router is the server itself
    ...lab.networks.flatMap((_, n) => {
      const { switch: device, subnet } = segment(n);
      return [`--interface=${device}`, `--dhcp-range=10.${subnet}.0.100,10.${subnet}.0.199,${LEASE_SECONDS}`];
    }),
    `--dhcp-option=option:T1,${RENEWAL_SECONDS}`,
    `--dhcp-option=option:T2,${REBINDING_SECONDS}`,
    `--dhcp-leasefile=${leaseFile}`,
    '--dhcp-authoritative',
    '--no-ping',
    '--log-facility=-',
  ]);
  const child = spawnDetached(argv, log);
  child.release();
  const said = () => {
    try {
      return readFileSync(log, 'utf8');
    } catch {
      return '';
    }
  };
  void child.exited.then((how) => {
    // ended by the lab's end it has nothing to say
    if (!how.startsWith('signal'))
      console.error(`the lab's DHCP server ended (${how}): ${said().slice(-500)}`);
  });
  if (child.pid < 0)
    throw new ShadowferryError('TOOL_MISSING', { tool: 'dnsmasq', install: 'apt-get install dnsmasq-base' });
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
