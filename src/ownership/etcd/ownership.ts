/**
 * Ownership on many hosts. Every change is one transaction on what was read a moment before, by the revision of its
 * key. Nothing of it hangs on a lease: a record says who owns the VM until somebody changes it.
 */
import { randomUUID } from 'node:crypto';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import {
  type ClaimValue,
  claimed,
  deviceClaim,
  forgotten,
  frees,
  handedOver,
  notOwner,
  ownershipOf,
  registered,
  resolution,
  type VmRecord,
} from '../record.ts';
import type {
  ClaimRequest,
  DeviceClaim,
  HandOverAttempt,
  HandOverOptions,
  HandOverOutcome,
  Ownership,
  OwnershipStore,
} from '../store.ts';
import { EtcdClient, OutcomeUnknown } from './client.ts';
import type { EtcdConfig } from './config.ts';
import { claimValue, type Keys, keysUnder, namesIn, vmValue } from './keys.ts';
import { type OwnershipChange, watchOwnership } from './watch-ownership.ts';

/** Claims freed by one transaction; etcd takes 128 operations by default. */
const AT_ONCE = 60;

interface Read<T> {
  key: string;
  /** "0" when there is none. */
  revision: string;
  value: T | undefined;
}

export class EtcdOwnership implements OwnershipStore {
  readonly #client: EtcdClient;
  readonly #keys: Keys;

  /** Connects when it is first used: a host may start while etcd is down. */
  constructor(config: EtcdConfig) {
    this.#client = new EtcdClient(config);
    this.#keys = keysUnder(config.prefix);
  }

  async read(vm: string, signal?: AbortSignal): Promise<Ownership | undefined> {
    return ownershipOf(vm, (await this.#vm(vm, this.#client.limit(signal))).value);
  }

  async list(signal?: AbortSignal): Promise<Ownership[]> {
    const { pairs } = await this.#client.all(this.#keys.vms, this.#client.limit(signal));
    return pairs
      .map(({ key, value }) => {
        const [vm = ''] = namesIn(key, 1);
        return ownershipOf(vm, vmValue.parse(key, value));
      })
      .filter((each) => each !== undefined)
      .sort((a, b) => (a.vm < b.vm ? -1 : 1));
  }

  async register(vm: string, owner: string, signal?: AbortSignal): Promise<Ownership> {
    return this.#repeat(this.#client.limit(signal), async (limit) => {
      const before = await this.#vm(vm, limit);
      const after = registered(vm, owner, before.value, Date.now());
      if (after !== undefined && !(await this.#write(before, after, limit))) return undefined;
      return ownershipOf(vm, after ?? before.value);
    });
  }

  async handOver(expected: Ownership, owner: string, options: HandOverOptions = {}): Promise<Ownership> {
    const attempt = { attempt: options.attempt ?? randomUUID(), expected, to: owner };
    const limit = this.#client.limit(options.signal);
    const before = await this.#vm(expected.vm, limit);
    const after = handedOver(attempt, before.value, Date.now());
    const done = { vm: expected.vm, owner, epoch: expected.epoch + 1 };
    if (after === undefined) return done;
    try {
      if (await this.#write(before, after, limit)) return done;
    } catch (error) {
      if (!(error instanceof OutcomeUnknown)) throw error;
      return this.#afterSilence(attempt, error, limit);
    }
    const now = await this.#vm(expected.vm, limit);
    handedOver(attempt, now.value, Date.now()); // says why, when that is known
    throw notOwner(expected.vm, expected.owner, now.value);
  }

  async resolveHandOver(attempt: HandOverAttempt, signal?: AbortSignal): Promise<HandOverOutcome> {
    const limit = this.#client.limit(signal);
    const { vm } = attempt.expected;
    try {
      return await this.#repeat(limit, async () => {
        const before = await this.#vm(vm, limit);
        const found = resolution(attempt, before.value, Date.now());
        if (found.known !== undefined) return found.known;
        if (!(await this.#write(before, found.withdraw, limit))) return undefined;
        const record = ownershipOf(vm, found.withdraw);
        return { action: 'withdrawn', reason: 'it had not been committed', record };
      });
    } catch (error) {
      if (error instanceof ShadowferryError && ['STORE_DAMAGED', 'HANDOVER_UNKNOWN'].includes(error.code))
        throw error;
      throw unknown(attempt, reasonOf(error), error);
    }
  }

  async claimDevice(claim: ClaimRequest, signal?: AbortSignal): Promise<void> {
    await this.#repeat(this.#client.limit(signal), async (limit) => {
      const before = await this.#claim(claim, limit);
      const after = claimed(claim, before.value, Date.now());
      if (after === undefined) return true;
      const put = { put: before.key, value: claimValue.format(after) };
      return (await this.#client.change([before], [put], limit)) || undefined;
    });
  }

  async releaseDevice(claim: ClaimRequest, signal?: AbortSignal): Promise<void> {
    await this.#repeat(this.#client.limit(signal), async (limit) => {
      const before = await this.#claim(claim, limit);
      if (before.value === undefined || !frees(claim, before.value)) return true;
      return (await this.#client.change([before], [{ remove: before.key }], limit)) || undefined;
    });
  }

  async claims(host?: string, signal?: AbortSignal): Promise<DeviceClaim[]> {
    return (await this.#claims(host, this.#client.limit(signal))).map(({ claim }) => claim);
  }

  async forget(vm: string, signal?: AbortSignal): Promise<void> {
    await this.#repeat(this.#client.limit(signal), async (limit) => {
      const held = (await this.#claims(undefined, limit)).filter(({ claim }) => claim.vm === vm);
      for (let at = 0; at < held.length; at += AT_ONCE) {
        const some = held.slice(at, at + AT_ONCE);
        const removals = some.map(({ key }) => ({ remove: key }));
        if (!(await this.#client.change(some, removals, limit))) return undefined;
      }
      const before = await this.#vm(vm, limit);
      const after = forgotten(before.value);
      return after === undefined || (await this.#write(before, after, limit)) || undefined;
    });
  }

  /** What is recorded now, and then every change, until the signal aborts. Never throws for a silent etcd. */
  watch(signal: AbortSignal): AsyncGenerator<OwnershipChange> {
    return watchOwnership(this.#client, this.#keys, signal);
  }

  close(): void {
    this.#client.close();
  }

  async #vm(vm: string, signal: AbortSignal): Promise<Read<VmRecord>> {
    const key = this.#keys.vm(vm);
    const pair = await this.#client.get(key, signal);
    if (pair === undefined) return { key, revision: '0', value: undefined };
    return { key, revision: pair.revision, value: vmValue.parse(key, pair.value) };
  }

  async #claim(of: ClaimRequest, signal: AbortSignal): Promise<Read<ClaimValue>> {
    const key = this.#keys.claim(of);
    const pair = await this.#client.get(key, signal);
    if (pair === undefined) return { key, revision: '0', value: undefined };
    return { key, revision: pair.revision, value: claimValue.parse(key, pair.value) };
  }

  async #claims(
    host: string | undefined,
    signal: AbortSignal,
  ): Promise<{ key: string; revision: string; claim: DeviceClaim }[]> {
    const { pairs } = await this.#client.all(this.#keys.claims(host), signal);
    return pairs
      .map(({ key, value, revision }) => {
        const [on = '', device = ''] = namesIn(key, 2);
        return { key, revision, claim: deviceClaim(on, device, claimValue.parse(key, value)) };
      })
      .sort(({ claim: a }, { claim: b }) =>
        a.host === b.host ? (a.device < b.device ? -1 : 1) : a.host < b.host ? -1 : 1,
      );
  }

  async #write(before: Read<VmRecord>, after: VmRecord, signal: AbortSignal): Promise<boolean> {
    const put = { put: before.key, value: vmValue.format(after) };
    return this.#client.change([before], [put], signal);
  }

  /**
   * Acts until it gives a result: again when somebody else was faster, and when a change got no answer. `act` looks
   * first each time, and does nothing twice.
   */
  async #repeat<T>(signal: AbortSignal, act: (signal: AbortSignal) => Promise<T | undefined>): Promise<T> {
    for (;;) {
      try {
        const result = await act(signal);
        if (result !== undefined) return result;
      } catch (error) {
        if (!(error instanceof OutcomeUnknown)) throw error;
        if (signal.aborted) throw new ShadowferryError('STORE_UNREACHABLE', { why: error.message });
      }
    }
  }

  /** A hand-over was sent and not answered. */
  async #afterSilence(
    attempt: HandOverAttempt,
    silence: OutcomeUnknown,
    signal: AbortSignal,
  ): Promise<Ownership> {
    if (signal.aborted) throw unknown(attempt, silence.message, silence);
    const { action } = await this.resolveHandOver(attempt, signal);
    const { expected, to } = attempt;
    if (action === 'committed') return { vm: expected.vm, owner: to, epoch: expected.epoch + 1 };
    const why = `${silence.message}; the hand-over had not been carried out, and was withdrawn`;
    throw new ShadowferryError('STORE_UNREACHABLE', { why }, { cause: silence });
  }
}

function unknown(attempt: HandOverAttempt, why: string, cause: unknown): ShadowferryError {
  const { attempt: id, expected, to } = attempt;
  return new ShadowferryError('HANDOVER_UNKNOWN', { vm: expected.vm, host: to, attempt: id, why }, { cause });
}
