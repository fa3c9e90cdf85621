/** Who asks: by the Unix socket, by a certificate, or by a token. */
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { ShadowferryError } from '../../errors.ts';
import { type CertificateFacts, factsOf } from '../pki/certificate.ts';
import type { RevokedList } from '../pki/revoked.ts';
import type { Role } from './roles.ts';
import type { TokenList } from './tokens.ts';

export interface Principal {
  /** Names it in logs and limits; never a secret. */
  name: string;
  role: Role;
  /** Name of the host that it is, where that is one of our peers: what daemons ask of each other is for these alone. */
  peer?: string;
  /** Why it is not what it was any more; undefined while it is. Asked again on long streams. */
  still: () => string | undefined;
}

export interface Identities {
  tokens: TokenList;
  revoked: RevokedList | undefined;
  /** Hosts of the configuration. */
  peers: ReadonlySet<string>;
  nowMs: () => number;
}

/** What was found of the certificate of a connection; the same for all its requests. */
const seen = new WeakMap<TLSSocket, CertificateFacts | { why: string }>();

function certificateOf(socket: TLSSocket): CertificateFacts | { why: string } | undefined {
  const before = seen.get(socket);
  if (before !== undefined) return before;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  const found = readCertificate(socket, certificate.raw);
  seen.set(socket, found);
  return found;
}

function readCertificate(socket: TLSSocket, raw: Uint8Array): CertificateFacts | { why: string } {
  // the chain, the period and the purpose, as OpenSSL checked them in the handshake
  if (!socket.authorized) {
    return { why: `its certificate is not taken (${String(socket.authorizationError)})` };
  }
  try {
    return factsOf(raw, 'of the client');
  } catch {
    return { why: 'its certificate cannot be read' };
  }
}

function refuse(why: string): ShadowferryError<'UNAUTHENTICATED'> {
  return new ShadowferryError('UNAUTHENTICATED', { why });
}

/** Hosts may look: they ask each other how they are. */
function byCertificate(facts: CertificateFacts, identities: Identities): Principal {
  const { holder, serial, notAfterMs } = facts;
  if (holder === undefined) throw refuse('its certificate names no role');
  const still = () => {
    if (identities.nowMs() >= notAfterMs) return 'its certificate has expired';
    return identities.revoked?.check(serial);
  };
  const why = still();
  if (why !== undefined) throw refuse(why);
  if (holder.kind === 'client') return { name: `cert:${holder.name}`, role: holder.role, still };
  const peer = identities.peers.has(holder.name) ? { peer: holder.name } : {};
  return { name: `host:${holder.name}`, role: 'viewer', still, ...peer };
}

function byToken(header: string, identities: Identities): Principal {
  const [, token] = /^Bearer ([\x21-\x7e]{1,256})$/i.exec(header) ?? [];
  if (token === undefined) throw refuse('the header "authorization" is not "Bearer TOKEN"');
  const found = identities.tokens.find(token, identities.nowMs());
  if ('why' in found) throw refuse(found.why);
  const { id, name, role } = found.entry;
  return { name: `token:${name}`, role, still: () => identities.tokens.still(id, identities.nowMs()) };
}

/**
 * Who asks. Over the Unix socket it is an administrator, as only those can connect whom its permissions let; a token
 * takes the place of that, so that one can ask with fewer rights. A certificate that is not good is refused also with
 * a token that is.
 * @throws UNAUTHENTICATED
 */
export function identify(request: IncomingMessage, identities: Identities): Principal {
  const { socket } = request;
  const header = request.headers.authorization;
  if (!(socket instanceof TLSSocket)) {
    if (header !== undefined) return byToken(header, identities);
    return { name: 'local', role: 'admin', still: () => undefined };
  }
  const certificate = certificateOf(socket);
  if (certificate !== undefined && 'why' in certificate) throw refuse(certificate.why);
  const holder = certificate === undefined ? undefined : byCertificate(certificate, identities);
  if (header !== undefined) return byToken(header, identities);
  if (holder !== undefined) return holder;
  throw refuse('there is neither a certificate nor a token');
}

/** What requests of nobody are counted under. */
export function addressOf(request: IncomingMessage): string {
  return `address:${request.socket.remoteAddress ?? 'local'}`;
}
