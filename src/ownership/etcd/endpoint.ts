/** One member of etcd: requests to it, and whether they can have reached it when there is no answer. */
import { readFileSync } from 'node:fs';
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { EtcdConfig } from './config.ts';

/** An answer is longer than anything that we ask for. */
const MOST_BYTES = 64 << 20;
const SOCKETS = 16;

/** There is no answer from a member. */
export class MemberFailure extends Error {
  /** The request may have reached it, and may even be carried out later. */
  readonly sent: boolean;
  /** Trying again will not help as long as nobody changes something; what to tell then. */
  readonly lasting: ShadowferryError | undefined;
  /** It was only too slow for the time that it was given. */
  readonly late: boolean;

  constructor(
    why: string,
    sent: boolean,
    options: { lasting?: ShadowferryError; late?: boolean; cause?: unknown } = {},
  ) {
    super(why, { cause: options.cause });
    this.sent = sent;
    this.late = options.late ?? false;
    this.lasting = options.lasting;
  }
}

export interface Answer {
  status: number;
  body: string;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** What OpenSSL and node say when one side does not like the other's certificate. */
function isTlsRefusal(error: unknown): boolean {
  return /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|HOSTNAME_MISMATCH|INVALID_CA|EPROTO)/.test(
    codeOf(error),
  );
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > MOST_BYTES) throw new Error(`an answer of more than ${MOST_BYTES} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString();
}

export class Endpoint {
  readonly url: string;
  readonly #tls: EtcdConfig['tls'];
  #agent: HttpAgent | HttpsAgent | undefined;

  constructor(url: string, tls: EtcdConfig['tls']) {
    this.url = new URL(url).origin;
    this.#tls = tls;
  }

  /** @throws MemberFailure */
  async call(
    path: string,
    options: { body?: unknown; headers?: Record<string, string>; signal: AbortSignal },
  ): Promise<Answer> {
    return this.#exchange(path, options, async (response) => ({
      status: response.statusCode ?? 0,
      body: await textOf(response),
    }));
  }

  /** The answer as it comes, in lines. @throws MemberFailure, also while it comes */
  async *lines(
    path: string,
    options: { body: unknown; headers?: Record<string, string>; signal: AbortSignal },
  ): AsyncGenerator<string> {
    const response = await this.#exchange(path, options, async (each) => each);
    try {
      if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`);
      let rest = '';
      for await (const chunk of response.setEncoding('utf8')) {
        rest += String(chunk);
        if (rest.length > MOST_BYTES) throw new Error(`a line of more than ${MOST_BYTES} characters`);
        const lines = rest.split('\n');
        rest = lines.pop() ?? '';
        yield* lines.filter((line) => line !== '');
      }
      if (rest !== '') yield rest;
    } catch (error) {
      throw this.#failure(error, true, options.signal);
    } finally {
      response.destroy();
    }
  }

  close(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  async #exchange<T>(
    path: string,
    options: { body?: unknown; headers?: Record<string, string>; signal: AbortSignal },
    take: (response: IncomingMessage) => Promise<T>,
  ): Promise<T> {
    const { body, headers = {}, signal } = options;
    let sent = false;
    try {
      signal.throwIfAborted();
      const text = body === undefined ? undefined : JSON.stringify(body);
      const all = text === undefined ? headers : { ...headers, 'content-type': 'application/json' };
      const request = this.#open(path, text === undefined ? 'GET' : 'POST', all, signal);
      const response = new Promise<IncomingMessage>((resolve, reject) => {
        request.once('response', resolve);
        request.on('error', reject);
      });
      request.once('socket', (socket: Socket) => {
        const ready = socket instanceof TLSSocket ? 'secureConnect' : 'connect';
        // one that was kept from the last request has no such event any more
        if (request.reusedSocket) sent = true;
        else
          socket.once(ready, () => {
            sent = true;
          });
      });
      request.end(text);
      return await take(await response);
    } catch (error) {
      throw this.#failure(error, sent, signal);
    }
  }

  #open(path: string, method: string, headers: Record<string, string>, signal: AbortSignal): ClientRequest {
    const url = new URL(path, this.url);
    const secure = url.protocol === 'https:';
    this.#agent ??= secure
      ? new HttpsAgent({ keepAlive: true, maxSockets: SOCKETS, ...this.#certificates() })
      : new HttpAgent({ keepAlive: true, maxSockets: SOCKETS });
    return (secure ? httpsRequest : httpRequest)(url, { method, headers, signal, agent: this.#agent });
  }

  #certificates(): { ca?: Buffer; cert?: Buffer; key?: Buffer; servername?: string } {
    const { ca, cert, key, serverName } = this.#tls ?? {};
    const read = (file: string): Buffer => {
      try {
        return readFileSync(file);
      } catch (error) {
        throw this.#refused(reasonOf(error), error);
      }
    };
    return {
      ...(ca === undefined ? {} : { ca: read(ca) }),
      ...(cert === undefined ? {} : { cert: read(cert) }),
      ...(key === undefined ? {} : { key: read(key) }),
      ...(serverName === undefined ? {} : { servername: serverName }),
    };
  }

  #refused(why: string, cause: unknown): MemberFailure {
    const lasting = new ShadowferryError('STORE_LOGIN_REFUSED', { endpoint: this.url, why }, { cause });
    return new MemberFailure(why, false, { lasting, cause });
  }

  #failure(error: unknown, sent: boolean, signal: AbortSignal): MemberFailure {
    if (error instanceof MemberFailure) return error;
    if (isTlsRefusal(error)) {
      // the files may be replaced by now; what is under way on the old connections goes on
      this.#agent = undefined;
      // with TLS 1.3 a server's alert about our certificate comes when we think that we are connected
      if (!sent || codeOf(error).includes('ALERT')) return this.#refused(reasonOf(error), error);
    }
    const why = signal.aborted ? `no ${sent ? 'answer' : 'connection'} in time` : reasonOf(error);
    return new MemberFailure(why === '' ? codeOf(error) : why, sent, { late: signal.aborted, cause: error });
  }
}
