/** A watch of keys that goes on over restarts and failures of members, without a gap and without repetition. */
import { pauseFor } from '../../base/pause-for.ts';
import { ShadowferryError } from '../../errors.ts';
import type { EtcdClient } from './client.ts';
import { type Endpoint, MemberFailure } from './endpoint.ts';
import { CODE, encode, endOf, type Pair, pairOf, WatchLine } from './wire.ts';

export type WatchedEvent = { kind: 'put'; pair: Pair } | { kind: 'removed'; key: string };

export type Watched =
  | { kind: 'events'; events: WatchedEvent[] }
  /** What happened since the last event is not known any more: look at everything, and watch from there. */
  | { kind: 'gap'; reason: string };

const PAUSES_MS = [25, 100, 200, 500, 1_000] as const;

interface Message {
  watched: Watched | undefined;
  /** All changes up to this revision were told. */
  upTo: bigint | undefined;
}

/**
 * The changes of all keys that begin with `prefix`, from revision `from` on. Ends when the signal aborts, and after a
 * `gap`. What cannot be reached is tried again for ever.
 * @throws STORE_FORBIDDEN and STORE_LOGIN_REFUSED, when etcd says so twice, the second time to a new login
 */
export async function* watch(
  client: EtcdClient,
  prefix: string,
  from: bigint,
  signal: AbortSignal,
): AsyncGenerator<Watched> {
  let next = from;
  let failures = 0;
  let refusals = 0;
  while (!signal.aborted) {
    try {
      for await (const { watched, upTo } of oneStream(client, prefix, next, signal)) {
        failures = 0;
        refusals = 0;
        if (watched !== undefined) yield watched;
        if (watched?.kind === 'gap') return;
        if (upTo !== undefined && upTo >= next) next = upTo + 1n;
      }
    } catch (error) {
      if (signal.aborted) return;
      const refused = error instanceof ShadowferryError && error.kind === 'refused';
      if (!refused && !(error instanceof MemberFailure)) throw error;
      // to a watch, etcd 3.4 says of an old token what it says of a user without the right
      client.forgetToken();
      if (refused && ++refusals > 1) throw error;
    }
    const ms = PAUSES_MS[Math.min(failures++, PAUSES_MS.length - 1)] ?? 0;
    await pauseFor(ms, signal);
  }
}

/** @throws MemberFailure when the stream ends, whatever ends it, and the store's errors */
async function* oneStream(
  client: EtcdClient,
  prefix: string,
  from: bigint,
  signal: AbortSignal,
): AsyncGenerator<Message> {
  const over = new AbortController();
  const limit = AbortSignal.any([signal, over.signal]);
  const { member, headers, cluster } = await client.ready(limit);
  const body = {
    create_request: {
      key: encode(prefix),
      range_end: encode(endOf(prefix)),
      start_revision: String(from),
      progress_notify: true,
    },
  };
  let next = from;
  const quiet = new QuietMember({
    askMs: 3 * client.config.memberMs,
    ask: () => client.changedSince(member, prefix, next),
    lost: () => over.abort(),
  });
  try {
    // the member is to end the watch itself when it loses its leader
    const all = { ...headers, 'grpc-metadata-hasleader': 'true' };
    for await (const line of member.lines('/v3/watch', { body, headers: all, signal: limit })) {
      quiet.heard();
      const message = messageOf(client, member, { line, cluster, from });
      if (message.upTo !== undefined) next = message.upTo + 1n;
      yield message;
    }
    throw new MemberFailure('it ended the watch', true);
  } catch (error) {
    if (error instanceof MemberFailure) client.demote(member);
    throw error;
  } finally {
    quiet.stop();
    over.abort();
  }
}

/**
 * A connection that stands still, or whose member is cut off from the others, looks like one without changes. So a
 * member that is quiet is asked for changes in another way: it must answer, and there must be none, but for one that
 * may be on its way.
 */
class QuietMember {
  readonly #options: { askMs: number; ask: () => Promise<boolean>; lost: () => void };
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #behind = 0;

  constructor(options: { askMs: number; ask: () => Promise<boolean>; lost: () => void }) {
    this.#options = options;
    this.heard();
  }

  heard(): void {
    this.#behind = 0;
    this.#wait();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #wait(): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#look(), this.#options.askMs).unref();
  }

  async #look(): Promise<void> {
    const changed = await this.#options.ask().catch(() => undefined);
    this.#behind = changed === true ? this.#behind + 1 : 0;
    if (changed === undefined || this.#behind > 1) this.#options.lost();
    else this.#wait();
  }
}

function messageOf(
  client: EtcdClient,
  member: Endpoint,
  { line, cluster, from }: { line: string; cluster: string; from: bigint },
): Message {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw new MemberFailure('a line that is not JSON', true);
  }
  const parsed = WatchLine.safeParse(json);
  if (!parsed.success) throw new MemberFailure("a line that is not of etcd's watch", true);
  if ('error' in parsed.data) {
    const { message, grpc_code: code } = parsed.data.error;
    if (code === CODE.unauthenticated || code === CODE.permissionDenied) throw forbidden(client, message);
    throw new MemberFailure(message, true);
  }
  const { header, created, canceled, cancel_reason, compact_revision, events } = parsed.data.result;
  if (header.cluster_id !== cluster) throw new MemberFailure(`${member.url} changed its cluster`, true);
  if (compact_revision !== undefined) {
    const reason = `what changed since revision ${from} was compacted away`;
    return { watched: { kind: 'gap', reason }, upTo: undefined };
  }
  if (canceled) {
    if (/permission denied|PermissionDenied/.test(cancel_reason)) throw forbidden(client, cancel_reason);
    throw new MemberFailure(cancel_reason || 'it ended the watch', true);
  }
  const revision = BigInt(header.revision);
  if (created) {
    const reason = `etcd is at revision ${revision}, and was at ${from - 1n}: it was restored from a backup`;
    return { watched: revision < from - 1n ? { kind: 'gap', reason } : undefined, upTo: undefined };
  }
  if (events.length === 0) return { watched: undefined, upTo: revision };
  const told = events.map(({ type, kv }): WatchedEvent => {
    const pair = pairOf(kv);
    return type === 'PUT' ? { kind: 'put', pair } : { kind: 'removed', key: pair.key };
  });
  // the header may be ahead of what was told
  const newest = events.map(({ kv }) => BigInt(kv.mod_revision)).reduce((a, b) => (a > b ? a : b));
  return { watched: { kind: 'events', events: told }, upTo: newest };
}

function forbidden(client: EtcdClient, why: string): ShadowferryError {
  const { auth, prefix } = client.config;
  return new ShadowferryError('STORE_FORBIDDEN', { user: auth?.user ?? '', prefix, why });
}
