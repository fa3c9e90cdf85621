/** Asks a daemon, over its Unix socket or over TLS. Types and checks are those of the contract that the daemon serves. */
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { type ErrorCode, isErrorCode, reasonOf, ShadowferryError } from '../../errors.ts';
import type { Endpoint } from '../api/endpoint.ts';
import { Problem } from '../api/model.ts';
import { readEvents, type StreamItem } from './events.ts';
import type { Target } from './target.ts';

export type { Target } from './target.ts';

/** An answer is read into memory up to this many bytes. */
const MOST_BYTES = 64 * 1024 * 1024;
const LIMIT_MS = 60_000;
/** A daemon that has other things to do refuses before it has done anything: it is asked again, so often at most. */
const NOT_NOW: readonly ErrorCode[] = ['HAND_OVER_FIRST', 'RATE_LIMITED'];
const TRIES = 10;
const AGAIN_MS = 1_000;

/** Where a daemon is asked, from what a user wrote: a path, `unix:PATH`, or `https://HOST:PORT`. @throws INPUT_FIELD */
export function parseTarget(field: string, text: string): string {
  if (text.startsWith('/')) return text;
  if (/^unix:\/\/?\/?./.test(text) || text.startsWith('unix:/')) return text.replace(/^unix:(\/\/)?/, '');
  if (URL.canParse(text)) {
    const url = new URL(text);
    const bare = url.pathname === '/' && url.search === '' && url.username === '' && url.password === '';
    if (url.protocol === 'https:' && bare) return url.origin;
  }
  const problem = `"${text}" is neither the path of a Unix socket nor https://HOST:PORT`;
  throw new ShadowferryError('INPUT_FIELD', { field, problem });
}

interface Answer {
  status: number;
  type: string;
  body: string;
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > MOST_BYTES) throw new Error(`the answer is larger than ${MOST_BYTES} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

export class DaemonClient {
  readonly #target: Target;
  readonly #againMs: number;

  constructor(target: Target, againMs = AGAIN_MS) {
    this.#target = target;
    this.#againMs = againMs;
  }

  /**
   * One call, again where the daemon says that now is not the time.
   * @throws what the daemon answered, DAEMON_UNREACHABLE, DAEMON_ANSWER
   */
  async call<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, A extends z.ZodType>(
    endpoint: Endpoint<P, Q, B, A>,
    input: { params: z.input<P>; query: z.input<Q>; body?: z.input<B> },
    options: { idempotencyKey?: string; signal?: AbortSignal } = {},
  ): Promise<z.output<A>> {
    const { signal } = options;
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#once(endpoint, input, options);
      } catch (error) {
        const wait = error instanceof ShadowferryError && NOT_NOW.includes(error.code) && tries < TRIES;
        if (!wait) throw error;
        await delay(this.#againMs, undefined, signal === undefined ? {} : { signal });
      }
    }
  }

  async #once<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, A extends z.ZodType>(
    endpoint: Endpoint<P, Q, B, A>,
    input: { params: z.input<P>; query: z.input<Q>; body?: z.input<B> },
    options: { idempotencyKey?: string; signal?: AbortSignal },
  ): Promise<z.output<A>> {
    const { method, path } = endpoint;
    const full = `${fill(path, entries(input.params))}${queryOf(entries(input.query))}`;
    const what = `${method} ${full}`;
    const answer = await this.#request(method, full, input.body, options);
    const wrong = (problem: string) =>
      new ShadowferryError('DAEMON_ANSWER', {
        ...{ target: this.#target.address, request: what, status: answer.status },
        problem,
      });
    let content: unknown;
    try {
      content = JSON.parse(answer.body);
    } catch {
      throw wrong('its body is no JSON');
    }
    if (answer.status >= 400) throw remoteError(content) ?? wrong('its body is no problem of this API');
    const parsed = endpoint.answer.safeParse(content);
    if (parsed.success) return parsed.data;
    throw wrong(parsed.error.issues.map(({ path: at, message }) => `${at.join('.')}: ${message}`).join('; '));
  }

  /** All items of a list, piece by piece. */
  async *items<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, T>(
    endpoint: Endpoint<P, Q, B, z.ZodType<{ items: T[]; next: string | null }>>,
    queryOfPiece: (cursor: string | undefined) => { params: z.input<P>; query: z.input<Q> },
  ): AsyncGenerator<T> {
    let cursor: string | undefined;
    do {
      const page = await this.call(endpoint, queryOfPiece(cursor));
      yield* page.items;
      cursor = page.next ?? undefined;
    } while (cursor !== undefined);
  }

  /** What happens, from now on or after an event. See `readEvents`. */
  events(options: { after?: number; signal?: AbortSignal } = {}): AsyncGenerator<StreamItem> {
    return readEvents(this.#target, options);
  }

  #request(
    method: string,
    path: string,
    body: unknown,
    options: { idempotencyKey?: string; signal?: AbortSignal },
  ): Promise<Answer> {
    const { address, token, certificate: cert, key, ca, agent } = this.#target;
    const text = body === undefined ? undefined : JSON.stringify(body);
    const common: RequestOptions = {
      method,
      path,
      timeout: LIMIT_MS,
      headers: {
        accept: 'application/json',
        ...(text === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey }),
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    };
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) =>
        reject(
          new ShadowferryError(
            'DAEMON_UNREACHABLE',
            { target: address, why: reasonOf(error) },
            { cause: error },
          ),
        );
      const take = (response: IncomingMessage) => {
        textOf(response).then((read) => {
          const type = response.headers['content-type'] ?? '';
          resolve({ status: response.statusCode ?? 0, type, body: read });
        }, fail);
      };
      const url = address.startsWith('/') ? undefined : new URL(address);
      const tls = agent === undefined ? ({ cert, key, ca, minVersion: 'TLSv1.3' } as const) : { agent };
      const sent =
        url === undefined
          ? httpRequest({ ...common, socketPath: address }, take)
          : httpsRequest(
              { ...common, ...tls, host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port || 443 },
              take,
            );
      sent.on('timeout', () => sent.destroy(new Error(`nothing came for ${LIMIT_MS} ms`)));
      sent.on('error', fail);
      sent.end(text);
    });
  }
}

/** Values by name, as they go into a path or a query. */
function entries(values: unknown): [string, string][] {
  if (typeof values !== 'object' || values === null) return [];
  return Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)] satisfies [string, string]],
  );
}

function fill(path: string, params: readonly [string, string][]): string {
  return params.reduce(
    (made, [name, value]) => made.replace(`{${name}}`, () => encodeURIComponent(value)),
    path,
  );
}

function queryOf(query: readonly [string, string][]): string {
  return query.length === 0 ? '' : `?${new URLSearchParams(Object.fromEntries(query))}`;
}

/** The error that the daemon met, as if it had been met here. */
function remoteError(content: unknown): ShadowferryError | undefined {
  const problem = Problem.safeParse(content);
  if (!problem.success) return undefined;
  const { code, params } = problem.data;
  return isErrorCode(code) ? new ShadowferryError(code, params) : undefined;
}
