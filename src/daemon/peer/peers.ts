/** The other hosts of the configuration: as destinations of migrations, and as sources that are asked about theirs. */
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import type { SourcePeer } from '../../migration/protocol/destination-recovery.ts';
import { PROTOCOL_MS } from '../../migration/protocol/messages.ts';
import type { HandOver } from '../../migration/protocol/record.ts';
import { PEER_API } from '../api/contract-peer.ts';
import type { DaemonConfig } from '../config/model.ts';
import { PeerLink } from './link.ts';
import { RemoteDestination } from './remote-destination.ts';

export class Peers {
  readonly #links = new Map<string, PeerLink>();
  readonly #destinations = new Map<string, RemoteDestination>();
  readonly #why: string;

  /** Without a certificate of our own no other daemon can be asked: each question says so then. */
  constructor({ host, listen, peers }: Pick<DaemonConfig, 'host' | 'listen' | 'peers'>) {
    this.#why = `host "${host}" has no certificate: "listen" is missing in its configuration`;
    for (const { name, address } of peers) {
      if (listen === undefined) continue;
      const link = new PeerLink({ name, address, credentials: listen, answerMs: PROTOCOL_MS.answer });
      this.#links.set(name, link);
      this.#destinations.set(name, new RemoteDestination(link));
    }
  }

  get names(): string[] {
    return [...this.#links.keys()];
  }

  /** A host that VMs can be sent to. @throws UNKNOWN_HOST */
  get(name: string): RemoteDestination {
    const found = this.#destinations.get(name);
    if (found === undefined) throw this.#unknown(name);
    return found;
  }

  /** What the source's daemon says of its half. @throws UNKNOWN_HOST, PEER_UNREACHABLE */
  async ask({ id, source }: HandOver, signal: AbortSignal): Promise<SourcePeer> {
    const link = this.#links.get(source);
    if (link === undefined) throw this.#unknown(source);
    const limit = deadline(`an answer of host "${source}"`, PROTOCOL_MS.answer, signal);
    const { peer } = await link.call(PEER_API.peerOutgoing, { params: { id }, query: {} }, { signal: limit });
    return peer;
  }

  /** Takes certificates that were changed, for connections to come. */
  reload(): void {
    for (const link of this.#links.values()) link.reload();
  }

  close(): void {
    for (const link of this.#links.values()) link.close();
  }

  #unknown(value: string): ShadowferryError<'UNKNOWN_HOST'> {
    const allowed = this.names.join(', ') || `(none: ${this.#why})`;
    return new ShadowferryError('UNKNOWN_HOST', { field: 'host', value, allowed });
  }
}
