import { access } from 'node:fs/promises';
import { exec } from '../../base/exec.ts';
import { tunProblem } from './ip.ts';
import type { DelayMeans } from './shaping.ts';

/** What this machine's kernel offers to lab networks; found out by trying. */
export interface NetworkFeatures {
  /** The kernel has the network emulator (sch_netem). */
  netem: boolean;
  /** The kernel has the token bucket filter (sch_tbf), which limits rates. */
  tbf: boolean;
  /** Who delays packets when a link is given a delay. */
  delay: DelayMeans;
  /** One sentence for the user: why `delay` is what it is. */
  reason: string;
}

/** Tries what the kernel offers, on the loopback interface of namespace `netns`. */
export async function probeFeatures(netns: string): Promise<NetworkFeatures> {
  // One after the other: an interface has one root.
  const netem = await offers(netns, ['netem', 'delay', '1ms']);
  const tbf = await offers(netns, ['tbf', 'rate', '1mbit', 'burst', '16384', 'limit', '65536']);
  return { netem, tbf, ...(await delayMeans(netem)) };
}

async function offers(netns: string, qdisc: readonly string[]): Promise<boolean> {
  const added = await exec(['tc', '-n', netns, 'qdisc', 'add', 'dev', 'lo', 'root', ...qdisc], {
    allowFailure: true,
  });
  if (added.code !== 0) return false;
  await exec(['tc', '-n', netns, 'qdisc', 'del', 'dev', 'lo', 'root']);
  return true;
}

async function delayMeans(netem: boolean): Promise<Pick<NetworkFeatures, 'delay' | 'reason'>> {
  if (netem) return { delay: 'netem', reason: 'The kernel has sch_netem, which delays packets.' };
  const without = 'The kernel has no sch_netem';
  const tun = await tunProblem();
  if (tun) {
    return {
      delay: 'none',
      reason: `${without}, and the delay line cannot take its place because ${tun.why}: links cannot be delayed. ${tun.command}`,
    };
  }
  if (!(await hasPerl())) {
    return {
      delay: 'none',
      reason: `${without}, and there is no Perl for the delay line: links cannot be delayed.`,
    };
  }
  return { delay: 'delay-line', reason: `${without}: a delay line in user space delays packets.` };
}

async function hasPerl(): Promise<boolean> {
  try {
    await access('/usr/bin/perl');
    return true;
  } catch {
    return false;
  }
}
