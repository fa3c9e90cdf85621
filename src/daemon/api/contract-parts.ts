/** What the calls of the API are made of, beside the things that they show. */
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { PathId } from './model.ts';

/** No parameters, or no query. */
export const Nothing = z.strictObject({});
/** A request without a body has none. */
export const NoBody = z.undefined();
export const ById = z.strictObject({ id: PathId });
export const OfVm = z.strictObject({ vm: PathId });

export const Paging = {
  limit: z.coerce.number().int().min(1).max(200).default(50).describe('How many at most.'),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,400}$/, 'what `next` of the piece before said')
    .optional()
    .describe('Where to go on: `next` of the piece before.'),
};

export function get<P extends z.ZodType, Q extends z.ZodType, A extends z.ZodType>(
  path: string,
  about: { tag: string; summary: string; needs?: Endpoint['needs'] },
  shapes: { params: P; query: Q; answer: A },
) {
  const fixed = { method: 'GET', status: 200, idempotent: false, body: NoBody } as const;
  const { tag, summary, needs = 'viewer' } = about;
  return { ...fixed, path, tag, summary, needs, ...shapes };
}

export const Paged = z.strictObject(Paging);

/** A call that changes something; with an idempotency key it acts once. */
export function post<P extends z.ZodType, B extends z.ZodType, A extends z.ZodType>(
  path: string,
  about: Pick<Endpoint, 'tag' | 'summary' | 'needs' | 'atOnce'> & { status?: Endpoint['status'] },
  shapes: { params: P; body: B; answer: A },
) {
  const { tag, summary, needs, status = 200, atOnce = false } = about;
  return {
    ...({ method: 'POST', idempotent: true, query: Nothing } as const),
    ...{ path, tag, summary, needs, status, atOnce, ...shapes },
  };
}
