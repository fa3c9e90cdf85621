/**
 * Which hosts are there: the one thing that hangs on a lease, as it says only who was alive a moment ago. That a host
 * is missing here does not mean that its VMs are dead, and nobody may take them over for it.
 */
import { pauseFor } from '../../base/pause-for.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { EtcdClient, OutcomeUnknown, Refused } from './client.ts';
import type { EtcdConfig } from './config.ts';
import { hostValue, type Keys, keysUnder, namesIn } from './keys.ts';
import { AnyAnswer, CODE, GrantAnswer, KeepAliveAnswer } from './wire.ts';

export interface HostRecord {
  name: string;
  /** Where its daemon is reached. */
  address: string;
  /** Of Shadowferry there. */
  version: string;
  /** When it announced itself, ms since 1970. */
  atMs: number;
}

export interface AnnounceOptions {
  /** After how long without a sign of life the record goes, s. */
  ttlSeconds?: number;
  /** Ends the announcement, and takes the record away. */
  signal: AbortSignal;
  /** Told when the record begins to be there, and when it may not be. */
  say?: (state: { announced: boolean; reason: string }) => void;
}

const AGAIN_MS = 500;

export class HostRegistry {
  readonly #client: EtcdClient;
  readonly #keys: Keys;

  constructor(config: EtcdConfig) {
    this.#client = new EtcdClient(config);
    this.#keys = keysUnder(config.prefix);
  }

  /** The hosts that were alive a moment ago, by name. */
  async list(signal?: AbortSignal): Promise<HostRecord[]> {
    const { pairs } = await this.#client.all(this.#keys.hosts, this.#client.limit(signal));
    return pairs
      .map(({ key, value }) => ({ name: namesIn(key, 1)[0] ?? '', ...hostValue.parse(key, value) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Keeps a host's record there until the signal aborts, over failures of etcd: with a new lease where the old one
   * ended.
   * @throws errors of the store that do not pass by themselves, such as STORE_FORBIDDEN
   */
  async announce(host: Omit<HostRecord, 'atMs'>, options: AnnounceOptions): Promise<void> {
    const { ttlSeconds = 15, signal, say = () => {} } = options;
    while (!signal.aborted) {
      let lease: string | undefined;
      try {
        lease = await this.#grant(ttlSeconds, signal);
        await this.#put(host, lease, signal);
        say({ announced: true, reason: 'etcd has the record' });
        await this.#keepAlive(lease, ttlSeconds, signal);
        if (!signal.aborted) say({ announced: false, reason: 'the lease ended' });
      } catch (error) {
        if (!signal.aborted && !passes(error)) throw error;
        if (!signal.aborted) say({ announced: false, reason: reasonOf(error) });
        await pauseFor(AGAIN_MS, signal);
      } finally {
        // where this fails, the record goes with its time
        if (lease !== undefined) await this.#revoke(lease).catch(() => {});
      }
    }
  }

  close(): void {
    this.#client.close();
  }

  async #grant(ttlSeconds: number, signal: AbortSignal): Promise<string> {
    const { ID } = await this.#client.call({
      path: '/v3/lease/grant',
      body: { TTL: String(ttlSeconds) },
      schema: GrantAnswer,
      repeatable: true, // one too many ends by itself
      signal: this.#limit(signal),
    });
    return ID;
  }

  async #put(
    { name, address, version }: Omit<HostRecord, 'atMs'>,
    lease: string,
    signal: AbortSignal,
  ): Promise<void> {
    const put = this.#keys.host(name);
    const value = hostValue.format({ address, version, atMs: Date.now() });
    await this.#client.change([], [{ put, value, lease }], this.#limit(signal));
  }

  /** Returns when the lease is not there any more, or the signal aborts. */
  async #keepAlive(lease: string, ttlSeconds: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pauseFor((ttlSeconds * 1000) / 3, signal);
      if (signal.aborted) return;
      const { TTL } = await this.#client.call({
        path: '/v3/lease/keepalive',
        body: { ID: lease },
        schema: KeepAliveAnswer,
        repeatable: true,
        signal: this.#limit(signal),
      });
      if (Number(TTL) <= 0) return;
    }
  }

  async #revoke(lease: string): Promise<void> {
    const signal = this.#client.limit(undefined);
    try {
      const call = { path: '/v3/lease/revoke', body: { ID: lease }, schema: AnyAnswer };
      await this.#client.call({ ...call, repeatable: true, signal });
    } catch (error) {
      if (!(error instanceof Refused && error.code === CODE.notFound)) throw error;
    }
  }

  #limit(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([this.#client.limit(undefined), signal]);
  }
}

function passes(error: unknown): boolean {
  if (error instanceof OutcomeUnknown || error instanceof Refused) return true;
  return error instanceof ShadowferryError && error.code === 'STORE_UNREACHABLE';
}
