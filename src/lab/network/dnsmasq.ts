/** dnsmasq outside, where the VMs' peers are: it leases addresses and advertises routers, and never answers for names. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnDetached } from '../../base/process.ts';
import { ShadowferryError } from '../../errors.ts';
import type { Lab } from '../lab.ts';

export interface DnsmasqOptions {
  /** What it is to the lab; names its files too: `dhcp`. */
  name: string;
  args: readonly string[];
}

export interface Dnsmasq {
  leaseFile: string;
  /** What it has logged so far. */
  said: () => string;
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Starts one; it ends with the lab. @throws TOOL_MISSING */
export function startDnsmasq(lab: Lab, { name, args }: DnsmasqOptions): Dnsmasq {
  const leaseFile = join(lab.directory, `${name}.leases`);
  const log = join(lab.directory, `${name}.log`);
  const fixed = ['--keep-in-foreground', '--conf-file=/dev/null', '--user=', '--pid-file=', '--port=0'];
  const files = [`--dhcp-leasefile=${leaseFile}`, '--log-facility=-'];
  const child = spawnDetached(
    lab.outside(['dnsmasq', ...fixed, '--bind-interfaces', ...args, ...files]),
    log,
  );
  child.release();
  const said = () => textOf(log);
  void child.exited.then((how) => {
    // ended by the lab's end it has nothing to say
    if (!how.startsWith('signal')) console.error(`the lab's ${name} ended (${how}): ${said().slice(-500)}`);
  });
  if (child.pid < 0)
    throw new ShadowferryError('TOOL_MISSING', { tool: 'dnsmasq', install: 'apt-get install dnsmasq-base' });
  return { leaseFile, said };
}
