/** The way to another host's daemon: mutual TLS with our own certificate, connections kept open, clocks compared. */
import { Agent } from 'node:https';
import { checkServerIdentity } from 'node:tls';
import type { z } from 'zod';
import { nowMs } from '../../base/clock.ts';
import { deadline } from '../../base/deadline.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { readNeeded } from '../../base/safe-file.ts';
import { urlHost } from '../../base/url-host.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { PEER_API } from '../api/contract-peer.ts';
import type { Endpoint } from '../api/endpoint.ts';
import { DaemonClient } from '../client/client.ts';
import { factsOf } from '../pki/certificate.ts';

/** Files with what shows who we are, and who the others may be. */
export interface Credentials {
  certificate: string;
  key: string;
  clientCa: string;
}

export interface LinkOptions {
  /** Name of the other host, as its certificate says it. */
  name: string;
  address: { host: string; port: number };
  credentials: Credentials;
  /** For one answer, ms. */
  answerMs: number;
}

type Call<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> = {
  params: z.input<P>;
  query: z.input<Q>;
  body?: z.input<B>;
};

export interface CallOptions {
  signal?: AbortSignal;
  /** For this answer, ms, where it is another time. */
  answerMs?: number;
}

/** Between two tries where nobody answers, ms. */
const AGAIN_MS = 100;
const AGAIN_MOST_MS = 1_000;
/** Looks at the other clock; the one that took least counts. */
const CLOCK_LOOKS = 5;
/** Connections that are kept: one waits for news, one is for what is said meanwhile, and the rest for other VMs. */
const KEPT = 8;

export class PeerLink {
  readonly name: string;
  readonly #options: LinkOptions;
  #connection: { client: DaemonClient; agent: Agent } | undefined;
  #offset: { ms: number; roundTripMs: number } | undefined;

  constructor(options: LinkOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get address(): string {
    const { host, port } = this.#options.address;
    return `${urlHost(host)}:${port}`;
  }

  /** An error that says which host was not reached, and why. */
  unreachable(why: string, cause?: unknown): ShadowferryError<'PEER_UNREACHABLE'> {
    return new ShadowferryError(
      'PEER_UNREACHABLE',
      { host: this.name, address: this.address, why },
      { cause },
    );
  }

  /** One question. @throws PEER_UNREACHABLE when there is no answer, and what the other side answered */
  async call<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, A extends z.ZodType>(
    endpoint: Endpoint<P, Q, B, A>,
    input: Call<P, Q, B>,
    { signal, answerMs = this.#options.answerMs }: CallOptions = {},
  ): Promise<z.output<A>> {
    const limit = deadline(`an answer of host "${this.name}"`, answerMs, signal);
    try {
      return await this.#client().call(endpoint, input, { signal: limit });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (!(error instanceof ShadowferryError) || error.code === 'DAEMON_UNREACHABLE') {
        const why = limit.aborted ? `nothing came for ${answerMs} ms` : whyOf(error);
        throw this.unreachable(why, error);
      }
      // it goes: whoever comes after it answers
      if (error.code === 'DAEMON_STOPPING') throw this.unreachable('it stops', error);
      throw error;
    }
  }

  /**
   * A question that is asked again until somebody answers.
   * @throws PEER_UNREACHABLE when nobody did before `signal` aborted, and what the other side answered
   */
  async surely<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, A extends z.ZodType>(
    endpoint: Endpoint<P, Q, B, A>,
    input: Call<P, Q, B>,
    signal: AbortSignal,
  ): Promise<z.output<A>> {
    let last: ShadowferryError | undefined;
    for (let again = AGAIN_MS; ; again = Math.min(again * 2, AGAIN_MOST_MS)) {
      if (signal.aborted) throw last ?? this.unreachable(reasonOf(signal.reason), signal.reason);
      try {
        return await this.call(endpoint, input, { signal });
      } catch (error) {
        if (signal.aborted) continue;
        if (!(error instanceof ShadowferryError) || error.code !== 'PEER_UNREACHABLE') throw error;
        last = error;
      }
      await pauseFor(again, signal);
    }
  }

  /** How much the other clock is ahead of ours, ms; 0 until it was looked at. */
  get offsetMs(): number {
    return this.#offset?.ms ?? 0;
  }

  /** A time of the other clock by ours, ms since the epoch. */
  ours(theirsMs: number): number {
    return theirsMs - this.offsetMs;
  }

  /**
   * Opens connections and looks at the other clock, before anything waits for either. An answer's own half way is not
   * known, so the look that took least is believed.
   */
  async warm(signal: AbortSignal): Promise<void> {
    await this.surely(PEER_API.peerClock, { params: {}, query: {} }, signal);
    for (let n = 0; n < CLOCK_LOOKS; n += 1) {
      const look = async () => {
        const sent = nowMs();
        const { nowMs: theirs } = await this.call(PEER_API.peerClock, { params: {}, query: {} }, { signal });
        const came = nowMs();
        return { roundTripMs: came - sent, ms: theirs - (sent + came) / 2 };
      };
      // two at once in the first round: the second connection is needed as soon as the first waits for news
      const looks = await Promise.allSettled(n === 0 ? [look(), look()] : [look()]);
      for (const each of looks) {
        if (each.status === 'rejected') continue; // one that is late says nothing of the clock
        if (this.#offset === undefined || each.value.roundTripMs <= this.#offset.roundTripMs)
          this.#offset = each.value;
      }
    }
    // clocks drift: an old look gives way to a later one, even to one that took a little longer
    if (this.#offset !== undefined)
      this.#offset = { ...this.#offset, roundTripMs: this.#offset.roundTripMs * 2 };
  }

  /** Takes certificates that were changed, for connections to come. */
  reload(): void {
    this.close();
  }

  close(): void {
    this.#connection?.agent.destroy();
    this.#connection = undefined;
  }

  #client(): DaemonClient {
    if (this.#connection !== undefined) return this.#connection.client;
    const { name, credentials } = this.#options;
    const agent = new Agent({
      keepAlive: true,
      maxFreeSockets: KEPT,
      minVersion: 'TLSv1.3',
      // every connection shows its certificate
      maxCachedSessions: 0,
      cert: readNeeded(credentials.certificate),
      key: readNeeded(credentials.key, true),
      ca: readNeeded(credentials.clientCa),
      checkServerIdentity: (host, certificate) => {
        const wrong = checkServerIdentity(host, certificate);
        if (wrong !== undefined) return wrong;
        const { holder } = factsOf(certificate.raw, `of host "${name}"`);
        if (holder?.kind === 'host' && holder.name === name) return undefined;
        return new Error(`its certificate is not that of host "${name}"`);
      },
    });
    const client = new DaemonClient({ address: `https://${this.address}`, agent });
    this.#connection = { client, agent };
    return client;
  }
}

function whyOf(error: unknown): string {
  if (error instanceof ShadowferryError && error.code === 'DAEMON_UNREACHABLE')
    return String(error.params.why);
  return reasonOf(error);
}
