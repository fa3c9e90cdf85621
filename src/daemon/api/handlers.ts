/** Joins a call with the code behind it: a request is checked once, and what was checked has the types of its schemas. */
import type { z } from 'zod';
import type { Principal } from '../auth/principal.ts';
import { mismatchesOf, RequestMismatch } from '../http/problem.ts';
import type { EndpointOf, Operation } from './contract.ts';
import type { PEER_API } from './contract-peer.ts';
import type { Endpoint } from './endpoint.ts';

export interface CallContext {
  principal: Principal | undefined;
  requestId: string;
  /** Under which the answer is kept, where the call takes one and the client sent it. */
  idempotencyKey: string | undefined;
}

/** The parts of a request, as they came. */
export interface RawInput {
  params: unknown;
  query: unknown;
  body: unknown;
}

export interface Bound<E extends Endpoint = Endpoint> {
  endpoint: E;
  /**
   * Checks a request and changes nothing; what is given back acts, and gives the body of the answer.
   * @throws RequestMismatch with all that does not fit
   */
  prepare: (raw: RawInput) => (context: CallContext) => Promise<string>;
}

/** The code of all calls: each is bound to its own. */
export type Handlers = { [K in Operation]: Bound<EndpointOf<K>> };

/** The code of what daemons ask of each other. */
export type PeerHandlers = { [K in keyof typeof PEER_API]: Bound<(typeof PEER_API)[K]> };

/** Binds code to a call. What it gives is held against the schema of the answer, so that nothing else gets out. */
export function bind<
  P extends z.ZodType,
  Q extends z.ZodType,
  B extends z.ZodType,
  A extends z.ZodType,
  E extends Endpoint<P, Q, B, A>,
>(
  endpoint: E & Endpoint<P, Q, B, A>,
  act: (
    input: { params: z.output<P>; query: z.output<Q>; body: z.output<B> },
    context: CallContext,
  ) => Promise<z.input<A>> | z.input<A>,
): Bound<E> {
  return {
    endpoint,
    prepare: (raw) => {
      const params = endpoint.params.safeParse(raw.params);
      const query = endpoint.query.safeParse(raw.query);
      const body = endpoint.body.safeParse(raw.body);
      if (!params.success || !query.success || !body.success) {
        throw new RequestMismatch([
          ...(params.success ? [] : mismatchesOf('path', params.error)),
          ...(query.success ? [] : mismatchesOf('query', query.error)),
          ...(body.success ? [] : mismatchesOf('body', body.error)),
        ]);
      }
      const input = { params: params.data, query: query.data, body: body.data };
      return async (context) => JSON.stringify(endpoint.answer.parse(await act(input, context)));
    },
  };
}
