/** Reads the events of a daemon, and goes on where it was when the connection breaks. */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { isErrorCode, reasonOf, ShadowferryError } from '../../errors.ts';
import { ApiEvent, Problem } from '../api/model.ts';
import type { Target } from './target.ts';

/** The daemon says something every 15 s, if only that it lives. */
const SILENT_MS = 40_000;
/** Pause before a broken stream is opened again. */
const AGAIN_MS = 1_000;
/** One event is no longer than this. */
const MOST_CHARACTERS = 1024 * 1024;

export type StreamItem =
  | { kind: 'event'; event: ApiEvent }
  /** What happened meanwhile is gone, or the stream was opened (anew) without a place: look at everything. */
  | { kind: 'look' };

interface Frame {
  event: string;
  data: string;
}

/** Takes text apart into frames; what is incomplete stays. Pure. */
export function framesOf(text: string): { frames: Frame[]; rest: string } {
  const pieces = text.split('\n\n');
  const rest = pieces.pop() ?? '';
  const frames = pieces.flatMap((piece) => {
    const lines = piece.split('\n');
    const of = (name: string) =>
      lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
    const data = of('data').join('\n');
    return data === '' ? [] : [{ event: of('event').at(-1) ?? 'message', data }];
  });
  return { frames, rest };
}

function open(
  target: Target,
  after: number | undefined,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  const { address, token, certificate: cert, key, ca } = target;
  const headers = {
    accept: 'text/event-stream',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(after === undefined ? {} : { 'last-event-id': String(after) }),
  };
  const common = { method: 'GET', path: '/v1/events', headers, ...(signal === undefined ? {} : { signal }) };
  return new Promise((resolve, reject) => {
    const url = address.startsWith('/') ? undefined : new URL(address);
    const tls = { cert, key, ca, minVersion: 'TLSv1.3', agent: false } as const;
    const sent: ClientRequest =
      url === undefined
        ? httpRequest({ ...common, socketPath: address, agent: false }, resolve)
        : httpsRequest(
            { ...common, ...tls, host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port || 443 },
            resolve,
          );
    sent.setTimeout(SILENT_MS, () => sent.destroy(new Error(`nothing came for ${SILENT_MS} ms`)));
    sent.on('error', reject);
    sent.end();
  });
}

async function refusal(response: IncomingMessage, address: string): Promise<ShadowferryError> {
  let text = '';
  for await (const chunk of response) if (text.length < MOST_CHARACTERS) text += String(chunk);
  let problem: ReturnType<typeof Problem.safeParse> | undefined;
  try {
    problem = Problem.safeParse(JSON.parse(text));
  } catch {
    // told below
  }
  const { code, params } = problem?.data ?? {};
  if (code !== undefined && params !== undefined && isErrorCode(code))
    return new ShadowferryError(code, params);
  return new ShadowferryError('DAEMON_ANSWER', {
    ...{ target: address, request: 'GET /v1/events', status: response.statusCode ?? 0 },
    problem: 'its body is no problem of this API',
  });
}

/**
 * The events from now on, or after the one with a number. Ends never by itself: a stream that breaks is opened again
 * where it was, as long as the daemon lets us in.
 * @throws DAEMON_UNREACHABLE when the first try fails, what the daemon says when it refuses, the signal's reason
 */
export async function* readEvents(
  target: Target,
  options: { after?: number; signal?: AbortSignal } = {},
): AsyncGenerator<StreamItem> {
  const { signal } = options;
  let { after } = options;
  for (let first = true; ; first = false) {
    signal?.throwIfAborted();
    try {
      const response = await open(target, after, signal);
      if (response.statusCode !== 200) throw await refusal(response, target.address);
      if (after === undefined || !first) yield { kind: 'look' };
      response.setEncoding('utf8');
      let text = '';
      for await (const chunk of response) {
        text += String(chunk);
        if (text.length > MOST_CHARACTERS) throw new Error('an event is too long');
        const { frames, rest } = framesOf(text);
        text = rest;
        for (const { event, data } of frames) {
          if (event === 'refused') throw new ShadowferryError('UNAUTHENTICATED', { why: data });
          if (event === 'reset') {
            yield { kind: 'look' };
            continue;
          }
          const parsed = ApiEvent.parse(JSON.parse(data));
          after = parsed.id;
          yield { kind: 'event', event: parsed };
        }
      }
    } catch (error) {
      signal?.throwIfAborted();
      const known = error instanceof ShadowferryError ? error : undefined;
      if (known !== undefined && known.code !== 'DAEMON_STOPPING') throw known;
      if (first) {
        const params = { target: target.address, why: reasonOf(error) };
        throw new ShadowferryError('DAEMON_UNREACHABLE', params, { cause: error });
      }
    }
    await delay(AGAIN_MS, undefined, signal === undefined ? {} : { signal });
  }
}
