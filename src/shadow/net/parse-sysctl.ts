/** The interface's sysctls. Pure. */
import type { Report } from './capture-text.ts';
import type { Sysctl } from './model.ts';

/**
 * Left out, because they are not settings of their own:
 * - `base_reachable_time`, `retrans_time`, `unres_qlen`: older spellings of the same value in other units, rounded;
 * - `mc_forwarding`: read-only, set by a multicast routing daemon.
 * Some values move others when they are written: `ipv6/…/disable_ipv6` (1 removes addresses), `forwarding` (redirects,
 * router advertisements and, on some drivers, LRO), `addr_gen_mode` and `stable_secret` (each other). The link's MTU
 * resets `ipv6/…/mtu`, which therefore counts only where it is smaller.
 */
const LEFT_OUT = new Set([
  'neigh/base_reachable_time',
  'neigh/retrans_time',
  'neigh/unres_qlen',
  'conf/mc_forwarding',
]);

const LINE = /^\/proc\/sys\/net\/(ipv4|ipv6)\/(conf|neigh)\/([^/]+)\/([^/:]+):(.*)$/;

/** Reads `grep -H`'s lines `/proc/sys/net/ipv4/conf/NAME/KEY:VALUE`. */
export function parseSysctls(
  lines: readonly string[],
  carrying: string,
  linkMtu: number,
  report: Report,
): Sysctl[] {
  const sysctls: Sysctl[] = [];
  for (const line of lines) {
    if (line === '') continue;
    const [family, part, name, key, value] = LINE.exec(line)?.slice(1) ?? [];
    if (family === undefined || key === undefined || value === undefined || name !== carrying) {
      report('sysctl', line);
      continue;
    }
    if (LEFT_OUT.has(`${part}/${key}`)) continue;
    if (family === 'ipv6' && part === 'conf' && key === 'mtu' && Number(value) >= linkMtu) continue;
    sysctls.push({ path: `${family}/${part}/{dev}/${key}`, value });
  }
  return sysctls;
}

/** The value of one sysctl of the interface. */
export function sysctlOf(sysctls: readonly Sysctl[], path: string): string | undefined {
  return sysctls.find((sysctl) => sysctl.path === path)?.value;
}
