/** What a case of the crash matrix must have led to, whatever was killed or cut. Pure. */
import type { Copy, HostName, Observation, RunningSpan } from './observation.ts';

export interface Verdict {
  survived: boolean;
  /** What the VM came to. */
  fate: 'lives' | 'ended';
  /** A sentence each; empty when it survived. */
  problems: string[];
  /** Why the VM was allowed to end; the documented exception. */
  exception: string | undefined;
}

/** Whether a QEMU ran at a moment. */
function ranAt(spans: readonly RunningSpan[], pid: number | undefined, atMs: number): boolean {
  return spans.some(
    (span) =>
      (pid === undefined || span.pid === pid) && span.fromMs <= atMs && (span.toMs ?? Infinity) >= atMs,
  );
}

/** Why nobody could have saved the VM after a kill; undefined where somebody could. */
export function exceptionOf({ killed, spans }: Pick<Observation, 'killed' | 'spans'>): string | undefined {
  if (killed === undefined) return undefined;
  if (ranAt(spans, killed.pid, killed.atMs)) return 'the QEMU that ran the VM was killed';
  if (killed.holdsPages) return 'the QEMU that held the rest of its memory was killed';
  const others = spans.some(({ pid, fromMs, toMs }) => {
    return pid !== killed.pid && fromMs <= killed.atMs && (toMs ?? Infinity) >= killed.atMs;
  });
  return others ? undefined : 'it was killed while the VM was between the two hosts';
}

/** Two spans of different QEMUs that have a time in common. */
export function twoAtOnce(spans: readonly RunningSpan[]): [RunningSpan, RunningSpan] | undefined {
  for (const [n, one] of spans.entries()) {
    for (const other of spans.slice(n + 1)) {
      if (one.pid === other.pid) continue;
      const from = Math.max(one.fromMs, other.fromMs);
      if (from < Math.min(one.toMs ?? Infinity, other.toMs ?? Infinity)) return [one, other];
    }
  }
  return undefined;
}

const HOSTS: readonly HostName[] = ['a', 'b'];
const running = ({ copies }: Observation): Copy[] => copies.filter(({ status }) => status === 'running');

function aboutCopies(seen: Observation, exception: string | undefined): string[] {
  const problems: string[] = [];
  const both = twoAtOnce(seen.spans);
  if (both !== undefined) {
    const [one, other] = both.map(({ host, pid }) => `on ${host} (${pid})`);
    problems.push(`two copies ran at once: ${one} and ${other}`);
  }
  const run = running(seen);
  if (run.length > 1) problems.push(`two copies run: on ${run.map(({ host }) => host).join(' and ')}`);
  if (run.length === 0 && exception === undefined) {
    const there = seen.copies.map(({ host, status }) => `one on ${host} is ${status}`).join(', ');
    problems.push(`no copy runs${there === '' ? '' : `: ${there}`}`);
  }
  for (const { host, status } of seen.copies) {
    if (status !== 'running') problems.push(`a QEMU is left on ${host}, ${status}`);
  }
  return problems;
}

/** What must be true of a VM that lives. */
function aboutLife(seen: Observation, copy: Copy): string[] {
  const problems: string[] = [];
  if (seen.owner !== copy.host)
    problems.push(`it runs on ${copy.host}, and the record names ${seen.owner ?? 'nobody'}`);
  if (!seen.answers) problems.push('the guest does not answer from outside');
  for (const [n, { alive, corrupt, why }] of seen.connections.entries()) {
    if (!alive) problems.push(`connection ${n} is dead: ${why ?? 'no answer'}`);
    if (corrupt > 0) problems.push(`connection ${n} has ${corrupt} wrong bytes`);
  }
  const ending = seen.migration?.ending;
  if (ending === 'completed' && copy.host !== seen.migration?.destination)
    problems.push(`the migration says "completed", and the VM runs on ${copy.host}`);
  if (ending === 'rolled-back' && copy.host !== seen.migration?.source)
    problems.push(`the migration says "rolled-back", and the VM runs on ${copy.host}`);
  return [...problems, ...aboutDevice(seen, copy)];
}

/** The device is there and claimed, or it is missing and told. */
function aboutDevice({ claims, migration }: Observation, copy: Copy): string[] {
  const here = claims.filter(({ host }) => host === copy.host);
  if (copy.device) {
    if (here.length === 1 && here[0]?.migration === undefined) return [];
    const told = here.map(({ device, migration: id }) => `${device}${id === undefined ? '' : ` for ${id}`}`);
    return [`it has its device, and the claims on ${copy.host} are: ${told.join(', ') || 'none'}`];
  }
  // its own claim keeps the device for the next try; a migration that is over keeps nothing
  const problems =
    here.length > 1 ? [`it has no device, and ${here.length} of ${copy.host} are claimed for it`] : [];
  if (migration?.ending !== 'degraded')
    problems.push(`it has no device, and the migration ended "${migration?.ending ?? 'never'}"`);
  return problems;
}

/** What is where it should not be. A VM that ended may have its taps and its directory where it ran last. */
function leftovers(seen: Observation, home: HostName | undefined): string[] {
  const problems: string[] = [];
  for (const host of HOSTS) {
    const { taps, directories, programs, rules } = seen.hosts[host];
    const own = host === home ? seen.ownTaps : [];
    for (const tap of taps) if (!own.includes(tap)) problems.push(`tap ${tap} is left on ${host}`);
    if (host !== home) for (const each of directories) problems.push(`directory ${each} is left on ${host}`);
    for (const each of programs) problems.push(`program ${each} is left on ${host}`);
    for (const each of rules) problems.push(`rule ${each} is left on ${host}`);
  }
  for (const { host, device, migration } of seen.claims) {
    if (migration !== undefined) problems.push(`${device} on ${host} is claimed for migration ${migration}`);
    else if (host !== home) problems.push(`${device} on ${host} is claimed`);
  }
  return problems;
}

/** @param mayEnd the VM ended, and was allowed to: only then may its migration be stuck */
function aboutJournal({ migration, explanation }: Observation, mayEnd: boolean): string[] {
  if (migration === undefined) return ['no journal knows of the migration'];
  const problems: string[] = [];
  if (migration.ending === null) problems.push('the migration has not ended');
  if (migration.ending === 'stuck' && !mayEnd) problems.push('the migration is stuck');
  if (explanation === undefined || explanation.lines === 0 || explanation.summary === '')
    problems.push('the journal does not explain it');
  return problems;
}

/** Judges one case. */
export function judge(seen: Observation): Verdict {
  const exception = exceptionOf(seen);
  const [copy] = running(seen);
  const last = seen.spans.toSorted((one, other) => other.fromMs - one.fromMs)[0];
  const home = copy?.host ?? last?.host;
  const problems = [
    ...(seen.notInjected === undefined ? [] : [`the fault was not injected: ${seen.notInjected}`]),
    ...seen.crashed.map((host) => `the daemon of ${host} ended by itself`),
    ...aboutCopies(seen, exception),
    ...(copy === undefined ? [] : aboutLife(seen, copy)),
    ...leftovers(seen, home),
    ...HOSTS.flatMap((host) => {
      const { illness } = seen.hosts[host];
      return illness === undefined ? [] : [`the daemon of ${host} is not well: ${illness}`];
    }),
    ...aboutJournal(seen, copy === undefined && exception !== undefined),
  ];
  return {
    survived: problems.length === 0,
    fate: copy === undefined ? 'ended' : 'lives',
    problems,
    exception: copy === undefined ? exception : undefined,
  };
}
