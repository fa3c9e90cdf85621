/** The HTTP server: who asks, whether they may, whether the request is right; then the handler. */
import { randomUUID } from 'node:crypto';
import rateLimit from '@fastify/rate-limit';
import {
  type FastifyBaseLogger,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify';
import type { Logger } from 'pino';
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import { API, type Operation } from '../api/contract.ts';
import { PEER_API } from '../api/contract-peer.ts';
import type { Endpoint, Needs } from '../api/endpoint.ts';
import type { Bound, Handlers, PeerHandlers } from '../api/handlers.ts';
import { apiDocument } from '../api/openapi.ts';
import { addressOf, type Identities, identify, type Principal } from '../auth/principal.ts';
import { includes } from '../auth/roles.ts';
import type { EventHub } from './event-stream.ts';
import { type Gate, RETRY_SECONDS } from './gate.ts';
import { Idempotency } from './idempotency.ts';
import type { Metrics } from './metrics.ts';
import { catalogued, mismatchesOf, problemOf, RequestMismatch } from './problem.ts';
import { RequestLog } from './request-log.ts';

/** Bodies are small: what is larger is no request of ours. */
export const BODY_BYTES = 1024 * 1024;

/** Who asks too often is told so after this, ms: refusing at once costs as much as answering, and invites the next. */
const CALM_MS = 500;

export type App = Awaited<ReturnType<typeof makeApp>>;

export interface AppOptions {
  /** A call without its code is not served. */
  handlers: Partial<Handlers>;
  /** What the daemons of other hosts ask; none where it is left out. */
  peer?: PeerHandlers | undefined;
  identities: Identities;
  hub: EventHub;
  /** Through which requests come in. */
  gate: Gate;
  idempotency: Idempotency;
  metrics: Metrics;
  log: Logger;
  version: string;
  requestsPerSecond: number;
  /** Whether the daemon is on its way out. */
  stopping: () => boolean;
}

interface Caller {
  principal?: Principal;
  /** Why it is not known who asks. */
  refused?: unknown;
}

const forPeers = (request: FastifyRequest) => request.routeOptions.config.needs === 'peer';

/** Whether somebody who may ask it asks what a migration waits for. */
function isAhead(request: FastifyRequest): boolean {
  const { needs, atOnce = false } = request.routeOptions.config;
  if (needs === undefined || !(atOnce || needs === 'peer')) return false;
  const { principal } = callers.get(request) ?? {};
  return principal !== undefined && mayAsk(principal, needs);
}

function mayAsk({ role, peer }: Principal, needed: Needs): boolean {
  if (needed === 'anyone') return true;
  return needed === 'peer' ? peer !== undefined : includes(role, needed);
}

/** Who asked, for as long as the request lives. */
const callers = new WeakMap<FastifyRequest, Caller>();

const nameOf = (request: FastifyRequest) => callers.get(request)?.principal?.name ?? addressOf(request.raw);

/** @throws UNAUTHENTICATED, FORBIDDEN */
function authorize(request: FastifyRequest, needed: Needs): Principal | undefined {
  const { principal, refused } = callers.get(request) ?? {};
  if (needed === 'anyone') return principal;
  if (principal === undefined)
    throw refused ?? new ShadowferryError('UNAUTHENTICATED', { why: 'nothing says it' });
  if (mayAsk(principal, needed)) return principal;
  const { name, role } = principal;
  throw new ShadowferryError('FORBIDDEN', { principal: name, role, needed });
}

const IdempotencyKey = z
  .string()
  .regex(/^[\x21-\x7e]{1,128}$/, 'at most 128 visible characters of ASCII')
  .optional();

function keyOf(request: FastifyRequest): string | undefined {
  const key = IdempotencyKey.safeParse(request.headers['idempotency-key']);
  if (key.success) return key.data;
  const [mismatch] = mismatchesOf('header', key.error);
  throw new RequestMismatch(mismatch === undefined ? [] : [{ ...mismatch, pointer: '/idempotency-key' }]);
}

/** Sends what is JSON already. */
function answer(reply: FastifyReply, status: number, body: string): FastifyReply {
  return reply
    .code(status)
    .type('application/json; charset=utf-8')
    .serializer((payload: string) => payload)
    .send(body);
}

/** What the calls share that every viewer may make and that are not in the contract. */
function view(url: string, operation: string) {
  return {
    method: 'GET' as const,
    url,
    config: { operation, needs: 'viewer' as const },
    preParsing: async (request: FastifyRequest) => {
      authorize(request, 'viewer');
    },
  };
}

/** Makes the server. It listens nowhere yet; `app.routing` takes requests once it is ready. */
export async function makeApp(options: AppOptions) {
  const { handlers, identities, hub, gate, idempotency, metrics, log } = options;
  const loggerInstance: FastifyBaseLogger = log;
  const app = fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    childLoggerFactory: (logger) => logger, // nobody writes with one of a request: each costs
    bodyLimit: BODY_BYTES,
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    trustProxy: false,
    routerOptions: { maxParamLength: 256, caseSensitive: true },
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    frameworkErrors: (error, request, reply) => fail(error, request, reply),
  });
  app.setErrorHandler((error, request, reply) => fail(error, request, reply));

  function fail(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const type = String(request.headers['content-type'] ?? '');
    const known = catalogued(error, { bodyBytes: request.routeOptions?.bodyLimit ?? BODY_BYTES, type });
    if (known.status >= 500) log.error({ err: error, requestId: request.id }, 'request failed');
    metrics.refused.inc({ code: known.code });
    if (known.code === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer realm="shadowferry"');
    if (known.code === 'HAND_OVER_FIRST') reply.header('retry-after', RETRY_SECONDS);
    if (known.code === 'BODY_TOO_LARGE') reply.header('connection', 'close');
    const send = () =>
      reply
        .code(known.status)
        .type('application/problem+json')
        .serializer((payload: string) => payload)
        .send(JSON.stringify(problemOf(known, request.id)));
    if (known.code === 'RATE_LIMITED') setTimeout(send, CALM_MS);
    else send();
  }

  const requestLog = new RequestLog(log);
  app.addHook('onRequest', async (request, reply) => {
    const caller: Caller = {};
    callers.set(request, caller);
    reply.headers({
      'x-request-id': request.id,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    });
    try {
      caller.principal = identify(request.raw, identities);
    } catch (error) {
      caller.refused = error;
    }
    if (!isAhead(request)) await gate.enter(nameOf(request));
  });
  await app.register(rateLimit, {
    global: true,
    max: options.requestsPerSecond,
    timeWindow: 1000,
    cache: 10_000,
    keyGenerator: nameOf,
    // what a migration waits for is not held up by what else the same host asks
    allowList: (request) => callers.get(request)?.principal?.peer !== undefined && forPeers(request),
    errorResponseBuilder: (request, { max }) =>
      new ShadowferryError('RATE_LIMITED', { principal: nameOf(request), max, seconds: 1 }),
  });
  app.addHook('onResponse', async (request, reply) => {
    const operation = request.routeOptions.config.operation ?? 'unknown';
    metrics.requests.inc({ operation, status: String(reply.statusCode) });
    metrics.durations.observe({ operation }, reply.elapsedTime / 1000);
    const { method, id: requestId } = request;
    const { statusCode: status, elapsedTime } = reply;
    requestLog.answered({ requestId, method, operation, status, principal: nameOf(request), elapsedTime });
  });
  app.addHook('onClose', async () => requestLog.close());

  function mount(operation: string, { endpoint, prepare }: Bound): void {
    const { method, path, needs, idempotent, status, atOnce = false, bodyBytes = BODY_BYTES } = endpoint;
    app.route({
      method,
      url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
      config: { operation, needs, atOnce },
      bodyLimit: bodyBytes,
      // before the body is read: who may not ask may not send either
      preParsing: async (request) => {
        authorize(request, needs);
        if (method !== 'GET' && options.stopping()) throw new ShadowferryError('DAEMON_STOPPING', {});
      },
      handler: async (request, reply) => {
        // a request without a body is one with an empty one
        const body = method === 'POST' ? (request.body ?? {}) : undefined;
        const act = prepare({ params: request.params, query: request.query, body });
        const key = idempotent ? keyOf(request) : undefined;
        const { principal } = callers.get(request) ?? {};
        const context = { principal, requestId: request.id, idempotencyKey: key };
        if (key === undefined) return answer(reply, status, await act(context));
        const by = nameOf(request);
        const kept = idempotency.begin(by, key, Idempotency.hash(method, request.url, body));
        if (kept !== undefined) {
          reply.header('idempotency-replayed', 'true');
          return answer(reply, kept.status, kept.body);
        }
        try {
          const text = await act(context);
          idempotency.finish(by, key, { status, body: text });
          return answer(reply, status, text);
        } catch (error) {
          idempotency.abandon(by, key);
          throw error;
        }
      },
    });
  }
  for (const operation of operations()) {
    const bound: Bound | undefined = handlers[operation];
    if (bound !== undefined) mount(operation, bound);
  }
  for (const [operation, bound] of Object.entries<Bound>(options.peer ?? {})) mount(operation, bound);

  app.route({
    ...view('/v1/events', 'events'),
    handler: async (request, reply) => {
      const principal = authorize(request, 'viewer');
      if (principal === undefined) throw new ShadowferryError('UNAUTHENTICATED', { why: 'nothing says it' });
      const after = lastSeen(request);
      if (options.stopping()) throw new ShadowferryError('DAEMON_STOPPING', {});
      for (const [name, value] of Object.entries(reply.getHeaders())) {
        if (value !== undefined) reply.raw.setHeader(name, value);
      }
      hub.open(reply.raw, principal, after);
      reply.hijack();
      metrics.requests.inc({ operation: 'events', status: '200' });
    },
  });
  const document = JSON.stringify(apiDocument(options.version));
  app.route({
    ...view('/openapi.json', 'document'),
    handler: async (_request, reply) => reply.type('application/json; charset=utf-8').send(document),
  });
  app.route({
    ...view('/metrics', 'metrics'),
    handler: async (_request, reply) => {
      metrics.streams.set(hub.readers);
      metrics.waiting.set(gate.waiting);
      return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
    },
  });
  app.setNotFoundHandler({ preHandler: app.rateLimit() }, (request, reply) => {
    authorize(request, 'viewer');
    const path = request.url.split('?')[0] ?? '';
    const { method } = request;
    const others = (['GET', 'POST', 'DELETE'] as const).filter(
      (each) => app.findRoute({ url: path, method: each }) !== null || matches(path, each),
    );
    if (others.length > 0) {
      reply.header('allow', others.join(', '));
      throw new ShadowferryError('METHOD_UNKNOWN', {
        path: path.slice(0, 200),
        method,
        allowed: others.join(', '),
      });
    }
    throw new ShadowferryError('ROUTE_UNKNOWN', { path: path.slice(0, 200), method });
  });
  await app.ready();
  return app;
}

/** The calls by name. */
export function operations(): Operation[] {
  return Object.keys(API).filter((name): name is Operation => name in API);
}

function matches(path: string, method: string): boolean {
  const other = [
    ['GET', '/v1/events'],
    ['GET', '/metrics'],
    ['GET', '/openapi.json'],
  ];
  const ours = [...operations().map((name) => API[name]), ...Object.values<Endpoint>(PEER_API)];
  const all = [...ours.map(({ method: its, path: template }) => [its, template]), ...other];
  return all.some(([its, template = '']) => {
    const [a, b] = [template.split('/'), path.split('/')];
    return (
      its === method && a.length === b.length && a.every((part, n) => part.startsWith('{') || part === b[n])
    );
  });
}

const EventId = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const EventQuery = z.strictObject({ after: EventId.optional() });

/** The last event that a reader of events has: its browser says so when it comes back, or it asks for it. */
function lastSeen(request: FastifyRequest): number | undefined {
  const query = EventQuery.safeParse(request.query);
  const header = EventId.optional().safeParse(request.headers['last-event-id']);
  if (query.success && header.success) return header.data ?? query.data.after;
  throw new RequestMismatch([
    ...(query.success ? [] : mismatchesOf('query', query.error)),
    ...(header.success
      ? []
      : mismatchesOf('header', header.error).map((each) => ({ ...each, pointer: '/last-event-id' }))),
  ]);
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Name of the call, for figures and logs. */
    operation?: string;
    needs?: Needs;
    atOnce?: boolean;
  }
}
