/** What one call of the API takes, gives and needs: the one source of validation, types, the document and the client. */
import type { z } from 'zod';
import type { Role } from '../auth/roles.ts';

/** `anyone` needs no identity. `peer`: the certificate of a host that is one of `peers` of the configuration. */
export type Needs = Role | 'anyone' | 'peer';

export interface Endpoint<
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
  Answer extends z.ZodType = z.ZodType,
> {
  method: 'GET' | 'POST' | 'DELETE';
  /** With `{name}` for each parameter, as OpenAPI writes it. */
  path: string;
  tag: string;
  summary: string;
  needs: Needs;
  params: Params;
  query: Query;
  body: Body;
  /** The body of a successful answer. */
  answer: Answer;
  /** 200, or what says more. */
  status: 200 | 201 | 202;
  /** Takes an idempotency key: the same key with the same request acts once. */
  idempotent: boolean;
  /** Answered at once also while a VM is handed over: it is about that. */
  atOnce?: boolean;
  /** Most bytes of a body, where it is not `BODY_BYTES`. */
  bodyBytes?: number;
}

/** What a handler is given. */
export interface Input<E extends Endpoint> {
  params: z.output<E['params']>;
  query: z.output<E['query']>;
  body: z.output<E['body']>;
}
