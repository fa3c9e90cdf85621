import { fileURLToPath } from 'node:url';

export interface IcmpProbeOptions {
  /** IPv4 or IPv6. */
  target: string;
  intervalMs: number;
  /** Gaps that are longer are told. */
  gapMs: number;
  /** The first answer must come within it. */
  readyMs: number;
}

/**
 * The command line of the ICMP probe. It is Perl (which every Debian has, and which the delay line uses as well):
 * Node opens no raw sockets, and `ping` occupies a whole processor at an interval of 2 ms.
 */
export function icmpProbeCommand({
  target,
  intervalMs,
  gapMs,
  readyMs,
}: IcmpProbeOptions): [string, ...string[]] {
  const script = fileURLToPath(new URL('./icmp-probe.pl', import.meta.url));
  return ['perl', script, target, `${intervalMs}`, `${gapMs}`, `${readyMs}`];
}
