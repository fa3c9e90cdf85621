/**
 * A client of etcd v3 by its JSON gateway, with the few calls that ownership needs. It goes from member to member
 * until one answers. Reads are linearizable. A change is sent once: where it may have been carried out without an
 * answer, `OutcomeUnknown` is thrown, and the caller looks.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { deadline, raceSignal } from '../../base/deadline.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { EtcdConfig } from './config.ts';
import { type Answer, Endpoint, MemberFailure } from './endpoint.ts';
import {
  type Change,
  CODE,
  encode,
  endOf,
  type Header,
  type Pair,
  pairOf,
  RangeAnswer,
  Refusal,
  requestOf,
  TokenAnswer,
  TxnAnswer,
  unchanged,
  VersionAnswer,
} from './wire.ts';

/** A change was sent and may have been carried out, now or a little later. */
export class OutcomeUnknown extends Error {}

/** etcd answered, and says no in a way that the caller may know what to do about. */
export class Refused extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

const OLDEST = [3, 4] as const;
const PAGE = 500;
const FIRST_PAUSE_MS = 25;
const LONGEST_PAUSE_MS = 1_000;

interface Call<T extends { header: Header }> {
  path: string;
  body: unknown;
  schema: z.ZodType<T>;
  /** Whether it may be sent again when the first one got no answer. */
  repeatable: boolean;
  signal: AbortSignal;
  /** How long a member has for the answer; the configuration's where absent. */
  memberMs?: number;
}

export class EtcdClient {
  readonly config: EtcdConfig;
  readonly #members: Endpoint[];
  /** Members that were seen to be fit since their last failure. */
  readonly #fit = new Set<Endpoint>();
  #cluster: string | undefined;
  #token: { value: Promise<string> } | undefined;
  readonly #closed = new AbortController();

  constructor(config: EtcdConfig) {
    this.config = config;
    this.#members = config.endpoints.map((url) => new Endpoint(url, config.tls));
  }

  close(): void {
    this.#closed.abort(new Error('closed'));
    for (const member of this.#members) member.close();
  }

  /** A limit for a call whose caller sets none. */
  limit(signal: AbortSignal | undefined): AbortSignal {
    const own = signal ?? deadline('the ownership store', this.config.timeoutMs);
    return AbortSignal.any([own, this.#closed.signal]);
  }

  /** @throws STORE_UNREACHABLE and its like, also for all other methods */
  async get(key: string, signal: AbortSignal): Promise<Pair | undefined> {
    const { kvs } = await this.#range({ key: encode(key) }, signal);
    return kvs[0] === undefined ? undefined : pairOf(kvs[0]);
  }

  /** All keys that begin with `prefix` as they are at one moment, in order, and the revision of that moment. */
  async all(prefix: string, signal: AbortSignal): Promise<{ pairs: Pair[]; revision: string }> {
    const pairs: Pair[] = [];
    const range_end = encode(endOf(prefix));
    const first = await this.#range({ key: encode(prefix), range_end, limit: PAGE }, signal);
    const { revision } = first.header;
    for (let page = first; ; ) {
      pairs.push(...page.kvs.map(pairOf));
      const last = pairs.at(-1);
      if (!page.more || last === undefined) return { pairs, revision };
      try {
        page = await this.#range({ key: encode(`${last.key}\0`), range_end, limit: PAGE, revision }, signal);
      } catch (error) {
        if (error instanceof Refused && error.code === CODE.outOfRange) return this.all(prefix, signal); // compacted
        throw error;
      }
    }
  }

  /**
   * Carries out all changes if each of the keys is as it was read, else none. Says whether it did.
   * @throws OutcomeUnknown
   */
  async change(
    ifUnchanged: readonly { key: string; revision: string }[],
    changes: readonly Change[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const compare = ifUnchanged.map(({ key, revision }) => unchanged(key, revision));
    const body = { compare, success: changes.map(requestOf) };
    // the look before it has found a member that answers: better to wait for it than not to know
    const memberMs = this.config.timeoutMs / 2;
    const call = { path: '/v3/kv/txn', body, schema: TxnAnswer, repeatable: false, signal, memberMs };
    return (await this.call(call)).succeeded;
  }

  /** @throws OutcomeUnknown where it may not be repeated; Refused */
  async call<T extends { header: Header }>(call: Call<T>): Promise<T> {
    const { memberMs = this.config.memberMs } = call;
    const failures = new Map<string, MemberFailure>();
    for (let round = 0; ; round++) {
      for (const member of [...this.#members]) {
        if (call.signal.aborted) throw this.#unreachable(failures, call.signal);
        const limit = AbortSignal.any([call.signal, AbortSignal.timeout(memberMs * 2 ** round)]);
        try {
          return await this.#ask(member, call, limit);
        } catch (error) {
          if (!(error instanceof MemberFailure)) throw error;
          failures.set(member.url, error);
          this.demote(member, error);
          if (error.sent && !call.repeatable) throw new OutcomeUnknown(`${member.url}: ${error.message}`);
        }
      }
      const lasting = this.#members.map(({ url }) => failures.get(url)?.lasting);
      const [first] = lasting;
      if (first !== undefined && lasting.every((each) => each !== undefined)) throw first;
      const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** round) * (0.5 + Math.random() / 2);
      await pauseFor(pause, call.signal);
    }
  }

  /** The member that is asked first, and what a request to it needs. @throws MemberFailure and the store's errors */
  async ready(
    signal: AbortSignal,
  ): Promise<{ member: Endpoint; headers: Record<string, string>; cluster: string }> {
    const [member] = this.#members;
    if (member === undefined) throw new ShadowferryError('INTERNAL', { why: 'an etcd without members' });
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(this.config.memberMs)]);
      await this.#checkFit(member, limit);
      return { member, headers: await this.#headers(member, limit), cluster: this.#cluster ?? '' };
    } catch (error) {
      this.demote(member);
      throw error;
    }
  }

  /**
   * Whether a key that begins with `prefix` was written in revision `from` or later. The member must have the
   * cluster's agreement for its answer.
   */
  async changedSince(member: Endpoint, prefix: string, from: bigint): Promise<boolean> {
    const limit = AbortSignal.any([AbortSignal.timeout(2 * this.config.memberMs), this.#closed.signal]);
    const range = { key: encode(prefix), range_end: encode(endOf(prefix)), min_mod_revision: String(from) };
    const body = { ...range, limit: 1, keys_only: true };
    const answer = await this.#askOnce(member, '/v3/kv/range', body, limit);
    const { header, kvs } = this.#parse(member, answer, RangeAnswer);
    this.#checkCluster(member, header);
    return kvs.length > 0;
  }

  /** Asks this member last from now on, and looks at it anew before it is used again, if it was more than slow. */
  demote(member: Endpoint, failure?: MemberFailure): void {
    if (failure?.late !== true) this.#fit.delete(member);
    const at = this.#members.indexOf(member);
    if (at >= 0) this.#members.push(...this.#members.splice(at, 1));
  }

  /** The next request begins with another login. */
  forgetToken(): void {
    this.#token = undefined;
  }

  async #range(request: Record<string, unknown>, signal: AbortSignal): Promise<z.infer<typeof RangeAnswer>> {
    return this.call({
      path: '/v3/kv/range',
      body: request,
      schema: RangeAnswer,
      repeatable: true,
      signal,
    });
  }

  async #ask<T extends { header: Header }>(member: Endpoint, call: Call<T>, signal: AbortSignal): Promise<T> {
    await this.#checkFit(member, signal);
    const answer = await this.#askOnce(member, call.path, call.body, signal);
    const parsed = this.#parse(member, answer, call.schema);
    this.#checkCluster(member, parsed.header);
    return parsed;
  }

  /** With a token that etcd does not know any more, another is got once: that answer means that nothing was done. */
  async #askOnce(member: Endpoint, path: string, body: unknown, signal: AbortSignal): Promise<Answer> {
    const headers = await this.#headers(member, signal);
    const token = this.#token;
    const answer = await member.call(path, { body, headers, signal });
    const refusal = refusalOf(answer);
    if (refusal === undefined || !isStaleToken(refusal) || this.config.auth === undefined) return answer;
    if (this.#token === token) this.forgetToken();
    return member.call(path, { body, headers: await this.#headers(member, signal), signal });
  }

  /** Once after each failure: is it etcd, new enough, and of the cluster that we know? */
  async #checkFit(member: Endpoint, signal: AbortSignal): Promise<void> {
    if (this.#fit.has(member)) return;
    try {
      const answer = await member.call('/version', { signal });
      const parsed = VersionAnswer.safeParse(parseJson(answer.body));
      if (!parsed.success) throw unfit(member, 'it does not answer as etcd does');
      const [major = 0, minor = 0] = parsed.data.etcdserver.split('.').map(Number);
      if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
        throw unfit(member, `etcd ${parsed.data.etcdserver} is older than ${OLDEST.join('.')}`);
      }
      // a member answers this by itself: it is about the member, not about its data
      const body = { key: encode(`${this.config.prefix}/`), serializable: true, count_only: true };
      const own = await this.#askOnce(member, '/v3/kv/range', body, signal);
      const { header } = this.#parse(member, own, RangeAnswer);
      this.#checkCluster(member, header);
      this.#fit.add(member);
    } catch (error) {
      // whatever was sent here changes nothing
      if (!(error instanceof MemberFailure)) throw error;
      const { lasting, late } = error;
      throw new MemberFailure(error.message, false, lasting === undefined ? { late } : { lasting, late });
    }
  }

  #checkCluster(member: Endpoint, { cluster_id: cluster }: Header): void {
    this.#cluster ??= cluster;
    if (cluster !== this.#cluster) {
      throw unfit(member, `it belongs to another cluster (${cluster}) than the others (${this.#cluster})`);
    }
  }

  async #headers(member: Endpoint, signal: AbortSignal): Promise<Record<string, string>> {
    if (this.config.auth === undefined) return {};
    const token = this.#token ?? { value: this.#login(member) };
    this.#token = token;
    try {
      return { authorization: await raceSignal(token.value, signal) };
    } catch (error) {
      if (this.#token === token) this.forgetToken();
      if (error instanceof ShadowferryError && error.code === 'STORE_LOGIN_REFUSED') throw error;
      const failed = error instanceof MemberFailure ? error : undefined;
      const lasting = failed?.lasting;
      const why = failed?.message ?? 'no login in time';
      throw new MemberFailure(why, false, lasting === undefined ? {} : { lasting });
    }
  }

  async #login(member: Endpoint): Promise<string> {
    const { user, passwordFile } = this.config.auth ?? { user: '', passwordFile: '' };
    const refuse = (why: string) =>
      new ShadowferryError('STORE_LOGIN_REFUSED', { endpoint: member.url, why });
    let password: string;
    try {
      password = readFileSync(passwordFile, 'utf8').split('\n', 1)[0] ?? '';
    } catch (error) {
      throw refuse(reasonOf(error));
    }
    // all callers share it, so it has its own limit
    const signal = AbortSignal.any([AbortSignal.timeout(4 * this.config.memberMs), this.#closed.signal]);
    const answer = await member.call('/v3/auth/authenticate', { body: { name: user, password }, signal });
    const refusal = refusalOf(answer);
    if (refusal?.code === CODE.failedPrecondition) {
      throw refuse(`a user is configured, and etcd says: ${refusal.message}`);
    }
    if (refusal?.code === CODE.invalidArgument) throw refuse(`user "${user}": ${refusal.message}`);
    return this.#parse(member, answer, TokenAnswer).token;
  }

  #parse<T>(member: Endpoint, answer: Answer, schema: z.ZodType<T>): T {
    const refusal = refusalOf(answer);
    if (refusal !== undefined) throw this.#refusal(member, refusal);
    if (answer.status === 404) throw unfit(member, 'its JSON gateway is switched off');
    const parsed = schema.safeParse(parseJson(answer.body));
    if (parsed.success && answer.status === 200) return parsed.data;
    const why = parsed.error === undefined ? '' : `: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`;
    throw new MemberFailure(`status ${answer.status} and not etcd's answer${why}`, true);
  }

  #refusal(member: Endpoint, { code, message }: z.infer<typeof Refusal>): Error {
    const { auth, prefix } = this.config;
    switch (code) {
      case CODE.permissionDenied:
        return new ShadowferryError('STORE_FORBIDDEN', { user: auth?.user ?? '', prefix, why: message });
      case CODE.unauthenticated:
        return new ShadowferryError('STORE_LOGIN_REFUSED', { endpoint: member.url, why: message });
      case CODE.invalidArgument:
        if (!/user name is empty|authentication failed/.test(message)) return new Refused(code, message);
        return new ShadowferryError('STORE_LOGIN_REFUSED', { endpoint: member.url, why: message });
      case CODE.resourceExhausted:
        // "too many requests" passes; a full database does not
        if (/too many requests/.test(message)) return new MemberFailure(message, false);
        return unfit(member, message);
      case CODE.unimplemented:
        return unfit(member, message);
      case CODE.notFound:
      case CODE.failedPrecondition:
      case CODE.outOfRange:
        return new Refused(code, message);
      default:
        // no leader, a new leader, no time left: it may or may not have been carried out
        return new MemberFailure(message, true);
    }
  }

  #unreachable(failures: ReadonlyMap<string, MemberFailure>, signal: AbortSignal): unknown {
    const { reason } = signal;
    const isDeadline = reason instanceof ShadowferryError ? reason.kind === 'timeout' : false;
    const isTimeout = reason instanceof DOMException && reason.name === 'TimeoutError';
    if (!isDeadline && !isTimeout && !this.#closed.signal.aborted) return reason; // cancelled by the caller
    const each = [...failures].map(([url, { message }]) => `${url}: ${message}`);
    return new ShadowferryError('STORE_UNREACHABLE', {
      why: each.length > 0 ? each.join('; ') : reasonOf(reason),
    });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refusalOf({ status, body }: Answer): z.infer<typeof Refusal> | undefined {
  if (status === 200) return undefined;
  const parsed = Refusal.safeParse(parseJson(body));
  return parsed.success ? parsed.data : undefined;
}

/** A token ends with its time, with the restart of a member, and with every change of etcd's users. */
function isStaleToken({ code, message }: z.infer<typeof Refusal>): boolean {
  return code === CODE.unauthenticated || /revision in header is old/.test(message);
}

function unfit(member: Endpoint, why: string): MemberFailure {
  const lasting = new ShadowferryError('STORE_UNFIT', { endpoint: member.url, why });
  return new MemberFailure(why, false, { lasting });
}
