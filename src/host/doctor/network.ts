/** Whether this user can build the lab's networks: found out by building one of each in a namespace that ends. */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { type Check, checksOf } from '../../base/check.ts';
import { exec } from '../../base/exec.ts';
import { reasonOf } from '../../errors.ts';

/** Whether something worked, or the words of who refused it. */
export type Trial = { works: true } | { works: false; why: string };

export interface NetworkFacts {
  root: boolean;
  /** Settings (`name=value` of sysctl) that would let ordinary users make namespaces and are not so. */
  usernsSettings: string[];
  namespaces: Trial;
  tun: 'works' | 'absent' | 'refused';
  bridge: Trial;
  veth: Trial;
  tap: Trial;
  tbf: Trial;
  netem: Trial;
}

const TUN = '/dev/net/tun';
const WORKS: Trial = { works: true };

/** What a batch of `ip` or `tc` (run with `-force`) said on stderr about each of its lines, from 1. Pure. */
export function batchResults(stderr: string, lines: number): Trial[] {
  const results: Trial[] = Array.from({ length: lines }, () => WORKS);
  let words = '';
  for (const line of stderr.split('\n')) {
    const failed = /^Command failed .*:(\d+)$/.exec(line);
    if (!failed) {
      words = line.trim() || words;
      continue;
    }
    results[Number(failed[1]) - 1] = { works: false, why: words || 'it failed' };
    words = '';
  }
  return results;
}

async function batch(prefix: readonly string[], program: 'ip' | 'tc', lines: string[], signal: AbortSignal) {
  const [first = program, ...rest] = [...prefix, program, '-force', '-batch', '-'];
  try {
    const { code, stderr } = await exec([first, ...rest], {
      input: `${lines.join('\n')}\n`,
      allowFailure: true,
      signal,
    });
    const results = batchResults(stderr, lines.length);
    // Failed, and not because of a line: the namespace itself, say.
    if (code !== 0 && results.every(({ works }) => works)) return lines.map(() => failed(stderr.trim()));
    return results;
  } catch (error) {
    signal.throwIfAborted();
    return lines.map(() => failed(reasonOf(error)));
  }
}

function failed(why: string): Trial {
  return { works: false, why };
}

function tryTun(): NetworkFacts['tun'] {
  if (!existsSync(TUN)) return 'absent';
  try {
    closeSync(openSync(TUN, 'r+'));
    return 'works';
  } catch {
    return 'refused';
  }
}

/** What keeps ordinary users from making namespaces: a sysctl, the value that forbids, the value that permits. */
const USERNS_SYSCTLS = [
  ['kernel.unprivileged_userns_clone', '0', '1'], // Debian
  ['kernel.apparmor_restrict_unprivileged_userns', '1', '0'], // Ubuntu
  ['user.max_user_namespaces', '0', '15000'],
] as const;

function usernsSettings(): string[] {
  return USERNS_SYSCTLS.flatMap(([name, forbids, permits]) => {
    try {
      const value = readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8').trim();
      return value === forbids ? [`${name}=${permits}`] : [];
    } catch {
      return []; // this kernel has no such setting
    }
  });
}

async function tryNamespaces(prefix: readonly string[], signal: AbortSignal): Promise<Trial> {
  const [first = 'unshare', ...rest] = prefix;
  try {
    const { code, stderr } = await exec([first, ...rest, 'true'], { allowFailure: true, signal });
    return code === 0 ? WORKS : failed(stderr.trim());
  } catch (error) {
    signal.throwIfAborted();
    return failed(reasonOf(error));
  }
}

/** Tries it all; takes some 50 ms and leaves nothing behind. @throws the signal's reason */
export async function tryNetworks(signal: AbortSignal): Promise<NetworkFacts> {
  const root = process.getuid?.() === 0;
  const prefix = ['unshare', ...(root ? [] : ['--user', '--map-root-user']), '--net'];
  const links = [
    'link add b0 type bridge',
    'link add v0 type veth peer name v1',
    'tuntap add dev t0 mode tap',
  ];
  const qdiscs = [
    'qdisc replace dev lo root tbf rate 1mbit burst 16384 limit 65536',
    'qdisc replace dev lo root netem delay 1ms',
  ];
  const [namespaces, made, shaped] = await Promise.all([
    tryNamespaces(prefix, signal),
    batch(prefix, 'ip', links, signal),
    batch(prefix, 'tc', qdiscs, signal),
  ]);
  const of = (results: Trial[], index: number): Trial => results[index] ?? failed('not tried');
  return {
    root,
    usernsSettings: usernsSettings(),
    namespaces,
    tun: tryTun(),
    bridge: of(made, 0),
    veth: of(made, 1),
    tap: of(made, 2),
    tbf: of(shaped, 0),
    netem: of(shaped, 1),
  };
}

function namespacesFix({ root, usernsSettings }: NetworkFacts): string {
  if (root) return 'Give the container CAP_SYS_ADMIN and CAP_NET_ADMIN (docker run --privileged).';
  if (usernsSettings.length === 0) return 'Run as root.';
  return `Run as root, or as root: sysctl -w ${usernsSettings.join(' ')}`;
}

/** Judges the facts. Pure. */
export function networkChecks(facts: NetworkFacts): Check[] {
  const { ok, warn, missing } = checksOf('Lab networks');
  if (!facts.namespaces.works) {
    // Nothing else can be tried without.
    return [missing('namespaces', facts.namespaces.why, namespacesFix(facts))];
  }
  const how = facts.root ? 'as root' : 'in a user namespace, without root';
  const checks = [ok('namespaces', how)];
  if (facts.tun === 'absent') {
    checks.push(missing('tun device', `there is no ${TUN}`, 'As root: modprobe tun'));
  } else if (facts.tun === 'refused') {
    checks.push(missing('tun device', `this user may not open ${TUN}`, `As root: chmod 0666 ${TUN}`));
  }
  const need = (name: 'bridge' | 'veth' | 'tap', module: string): Check => {
    const trial = facts[name];
    return trial.works ? ok(name, 'works') : missing(name, trial.why, `As root: modprobe ${module}`);
  };
  checks.push(need('bridge', 'bridge'), need('veth', 'veth'));
  if (facts.tun === 'works') checks.push(need('tap', 'tun'));
  checks.push(
    facts.tbf.works
      ? ok('link rate', 'tbf works')
      : warn('link rate', `no tbf (${facts.tbf.why}): links run at full speed`, 'As root: modprobe sch_tbf'),
    facts.netem.works
      ? ok('link delay', 'netem works')
      : warn(
          'link delay',
          `no netem (${facts.netem.why}): delays are made in user space, less exactly`,
          'As root: modprobe sch_netem',
        ),
  );
  return checks;
}
