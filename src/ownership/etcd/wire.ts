/** Messages of etcd's JSON gateway (v3), as far as they are used here. Numbers of 64 bits are texts there. */
import { z } from 'zod';

const Int64 = z.string().regex(/^-?\d+$/);

export const Header = z.object({ cluster_id: z.string(), revision: Int64.default('0') });
export type Header = z.infer<typeof Header>;

const RawPair = z.object({
  key: z.string(),
  value: z.string().default(''),
  mod_revision: Int64.default('0'),
});

export const RangeAnswer = z.object({
  header: Header,
  kvs: z.array(RawPair).default([]),
  more: z.boolean().default(false),
});

export const TxnAnswer = z.object({ header: Header, succeeded: z.boolean().default(false) });

export const VersionAnswer = z.object({ etcdserver: z.string() });
export const TokenAnswer = z.object({ token: z.string() });
export const GrantAnswer = z.object({ header: Header, ID: Int64, TTL: Int64 });
/** A lease that is not there any more has no TTL. */
export const KeepAliveAnswer = z
  .object({ result: z.object({ header: Header, TTL: Int64.default('0') }) })
  .transform(({ result }) => result);
export const AnyAnswer = z.object({ header: Header });

/** 3.4 has `error` too; 3.6 has `details`. */
export const Refusal = z.object({ code: z.number().int(), message: z.string() });

const RawEvent = z.object({ type: z.enum(['PUT', 'DELETE']).default('PUT'), kv: RawPair });

/** One line of a watch. */
export const WatchLine = z.union([
  z.object({
    result: z.object({
      header: Header,
      created: z.boolean().default(false),
      canceled: z.boolean().default(false),
      cancel_reason: z.string().default(''),
      compact_revision: Int64.optional(),
      events: z.array(RawEvent).default([]),
    }),
  }),
  z.object({
    error: z.object({
      grpc_code: z.number().optional(),
      code: z.number().optional(),
      message: z.string().default(''),
    }),
  }),
]);

/** A key with its value, and the revision of its last change. */
export interface Pair {
  key: string;
  value: string;
  revision: string;
}

export const encode = (text: string): string => Buffer.from(text).toString('base64');
const decode = (base64: string): string => Buffer.from(base64, 'base64').toString();

export function pairOf(raw: z.infer<typeof RawPair>): Pair {
  return { key: decode(raw.key), value: decode(raw.value), revision: raw.mod_revision };
}

/** The end of the range of all keys that begin with `prefix`, which must end with a character below U+007F. */
export function endOf(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}

/** A condition of a transaction: the key is as it was read. Revision 0: it is not there. */
export function unchanged(key: string, revision: string): Record<string, string> {
  return { key: encode(key), target: 'MOD', result: 'EQUAL', mod_revision: revision };
}

export type Change = { put: string; value: string; lease?: string } | { remove: string };

export function requestOf(change: Change): Record<string, unknown> {
  if ('remove' in change) return { request_delete_range: { key: encode(change.remove) } };
  const lease = change.lease === undefined ? {} : { lease: change.lease };
  return { request_put: { key: encode(change.put), value: encode(change.value), ...lease } };
}

/** gRPC's codes, as far as etcd's answers are told apart by them. */
export const CODE = {
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  unauthenticated: 16,
} as const;
