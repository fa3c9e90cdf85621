/** Follows a migration that a daemon performs, and shows it like one that this process performs. */
import { z } from 'zod';
import { PHASES } from '../base/phases.ts';
import { API } from '../daemon/api/contract.ts';
import type { ApiEvent, MigrationDetail } from '../daemon/api/model.ts';
import type { DaemonClient } from '../daemon/client/client.ts';
import { ShadowferryError } from '../errors.ts';
import type { MigrationEvent } from '../migration/events.ts';
import type { MigrationResult } from '../migration/result.ts';
import { ResultText } from '../migration/result-model.ts';

const Told = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('migration.phase'),
    data: z.object({ sinceMs: z.number(), phase: z.enum(PHASES), reason: z.string() }),
  }),
  z.object({
    type: z.literal('migration.progress'),
    data: z.object({
      ...{ sinceMs: z.number(), phase: z.enum(PHASES), transferred: z.number(), remaining: z.number() },
      ...{ total: z.number(), rateBps: z.number(), dirtyRateBps: z.number(), round: z.number() },
      ...{ etaMs: z.number().nullable(), reason: z.string(), of: z.literal('disks').exactOptional() },
      residual: z.object({ bytes: z.number(), etaMs: z.number().nullable() }),
    }),
  }),
  z.object({
    type: z.literal('migration.decision'),
    data: z.object({ sinceMs: z.number(), action: z.string(), reason: z.string() }),
  }),
  z.object({
    type: z.literal('migration.warning'),
    data: z.object({ sinceMs: z.number(), text: z.string() }),
  }),
  z.object({ type: z.literal('migration.undo'), data: z.object({ sinceMs: z.number(), what: z.string() }) }),
]);

/** An event of the API as the engine told it; undefined for others. Pure. */
export function engineEvent(event: Pick<ApiEvent, 'type' | 'data'>): MigrationEvent | undefined {
  const parsed = Told.safeParse(event);
  if (!parsed.success) return undefined;
  const { type, data } = parsed.data;
  switch (type) {
    case 'migration.phase': {
      const { sinceMs: atMs, ...rest } = data;
      return { type: 'phase', atMs, ...rest };
    }
    case 'migration.progress': {
      const { sinceMs: atMs, ...rest } = data;
      return { type: 'progress', atMs, ...rest };
    }
    case 'migration.decision': {
      const { sinceMs: atMs, ...rest } = data;
      return { type: 'decision', atMs, ...rest };
    }
    case 'migration.warning':
      return { type: 'warning', atMs: data.sinceMs, text: data.text };
    case 'migration.undo':
      return { type: 'undo', atMs: data.sinceMs, what: data.what };
    default:
      return type satisfies never;
  }
}

export interface Followed {
  /** Each event of the migration, as it comes. */
  onEvent: (event: ApiEvent) => void;
  /** How it stands, whenever it is looked at. */
  onLook: (detail: MigrationDetail) => void;
}

/**
 * Begins something and follows it to its end. The events are listened to before it begins, so that none is missed.
 * @param begin gives its id
 * @throws what `begin` throws, DAEMON_UNREACHABLE, the signal's reason: it goes on then
 */
export async function follow(
  client: DaemonClient,
  begin: () => Promise<MigrationDetail>,
  { onEvent, onLook }: Followed,
  signal?: AbortSignal,
): Promise<MigrationDetail> {
  const events = client.events(signal === undefined ? {} : { signal });
  try {
    await events.next(); // the stream is open
    const begun = await begin();
    onLook(begun);
    if (begun.state === 'ended') return begun;
    const look = () => client.call(API.getMigration, { params: { id: begun.id }, query: {} });
    for await (const item of events) {
      if (item.kind === 'event') {
        if (item.event.data.id !== begun.id) continue;
        onEvent(item.event);
        if (item.event.type !== 'migration.ended') continue;
      }
      const detail = await look();
      onLook(detail);
      if (detail.state === 'ended') return detail;
    }
    throw new ShadowferryError('INTERNAL', { why: 'the events of a daemon ended' });
  } finally {
    await events.return(undefined);
  }
}

/** The result of one that has ended. @throws DAEMON_ANSWER */
export function resultIn({ id, result }: MigrationDetail): MigrationResult {
  const parsed = ResultText.safeParse(result);
  if (parsed.success) return parsed.data;
  const problem = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  const request = `GET /v1/migrations/${id}`;
  throw new ShadowferryError('DAEMON_ANSWER', { target: 'the host', request, status: 200, problem });
}
