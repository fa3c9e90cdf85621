/** Where the daemon listens: always its Unix socket, and TLS 1.3 if it is told so. */
import { createServer, type RequestListener, type Server, type ServerOptions, STATUS_CODES } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TlsOptions } from 'node:tls';
import { errnoOf, readNeeded } from '../../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { DaemonConfig } from '../config/model.ts';
import { problemOf } from './problem.ts';
import { listenOnSocket } from './socket.ts';

export interface Times {
  /** Until the head of a request is there, ms. */
  headersMs: number;
  /** Until the whole of it is there. */
  requestMs: number;
}

const TIMES: Times = { headersMs: 10_000, requestMs: 30_000 };

function serverOptions({ headersMs, requestMs }: Times): ServerOptions {
  return {
    headersTimeout: headersMs,
    requestTimeout: requestMs,
    connectionsCheckingInterval: Math.min(1000, headersMs / 2),
    keepAliveTimeout: 15_000,
    maxHeaderSize: 16_384,
  };
}

/** What cannot be read as a request has an answer too, where there is still somebody to have it. */
function onClientError(error: Error, socket: Duplex): void {
  if (!socket.writable || errnoOf(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const code = errnoOf(error);
  const slow = code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const problem = code === 'HPE_HEADER_OVERFLOW' ? 'its headers are larger than 16 KiB' : 'it is no HTTP/1.1';
  const known = slow
    ? new ShadowferryError('REQUEST_SLOW', {})
    : new ShadowferryError('REQUEST_MALFORMED', { problem });
  const body = JSON.stringify(problemOf(known, 'unread'));
  const head = [
    `HTTP/1.1 ${known.status} ${STATUS_CODES[known.status]}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}

type Listen = NonNullable<DaemonConfig['listen']>;

/** @throws FILE_UNSAFE */
function secrets({ certificate, key, clientCa }: Listen): TlsOptions {
  return { cert: readNeeded(certificate), key: readNeeded(key, true), ca: readNeeded(clientCa) };
}

async function listenOnTcp(server: Server | TlsServer, { host, port }: Listen['address']): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      const where = `${host}:${port}`;
      reject(new ShadowferryError('LISTEN_FAILED', { where, why: reasonOf(error) }, { cause: error }));
    });
    server.listen({ host, port }, resolve);
  });
  server.removeAllListeners('error');
}

export interface Listeners {
  /** Port of the TLS listener. */
  port: number | undefined;
  /** Reads certificate, key and CAs anew, for connections to come. @throws FILE_UNSAFE */
  reload: () => void;
  /** Takes no new connection; ends those that are idle, and after `ms` all of them. */
  close: (ms: number) => Promise<void>;
}

/**
 * Listens everywhere, or nowhere.
 * @throws SOCKET_UNSAFE, LISTEN_FAILED, FILE_UNSAFE, PKI_INVALID
 */
export async function openListeners(
  config: Pick<DaemonConfig, 'socket' | 'listen' | 'limits'>,
  handler: RequestListener,
  times: Times = TIMES,
): Promise<Listeners> {
  const { socket, listen, limits } = config;
  const local = createServer(serverOptions(times), handler);
  const tls = listen === undefined ? undefined : makeTls(listen, handler, times);
  const servers = tls === undefined ? [local] : [local, tls];
  for (const server of servers) {
    server.maxConnections = limits.connections;
    server.on('clientError', onClientError);
  }
  const close = (server: Server | TlsServer, ms: number) =>
    new Promise<void>((resolve) => {
      if (!server.listening) return resolve();
      const timer = setTimeout(() => server.closeAllConnections(), ms);
      server.close(() => {
        clearTimeout(timer);
        resolve();
      });
      server.closeIdleConnections();
    });
  const unlink = await listenOnSocket(local, socket);
  try {
    if (tls !== undefined && listen !== undefined) await listenOnTcp(tls, listen.address);
  } catch (error) {
    unlink();
    await close(local, 0);
    throw error;
  }
  const address: AddressInfo | string | null | undefined = tls?.address();
  return {
    port: typeof address === 'object' ? address?.port : undefined,
    reload: () => {
      if (tls !== undefined && listen !== undefined) tls.setSecureContext(secrets(listen));
    },
    close: async (ms) => {
      unlink();
      await Promise.all(servers.map((server) => close(server, ms)));
    },
  };
}

function makeTls(listen: Listen, handler: RequestListener, times: Times): TlsServer {
  const options = {
    ...serverOptions(times),
    ...secrets(listen),
    minVersion: 'TLSv1.3',
    requestCert: true,
    // with tokens allowed, who has no certificate comes in and must show a token; see `identify`
    rejectUnauthorized: listen.authentication === 'certificate',
    handshakeTimeout: times.headersMs,
    // a session that is taken up again would not show its certificate again
    sessionTimeout: 1,
  } as const;
  try {
    return createTlsServer(options, handler);
  } catch (error) {
    const why = reasonOf(error);
    throw new ShadowferryError('PKI_INVALID', {
      file: listen.certificate,
      what: 'certificate with its key',
      why,
    });
  }
}
