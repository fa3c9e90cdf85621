/**
 * What the daemons of two hosts ask of each other about a migration. Only the certificate of a configured peer may ask.
 * Every call may be made again: a repeated one does no harm. They are of the daemons alone, so not in the document.
 */
import { z } from 'zod';
import {
  DeviceText,
  ModelText,
  OrderText,
  StagedText,
  StateText,
  Told,
} from '../../migration/incoming/wire-model.ts';
import { SOURCE_PEERS } from '../../migration/protocol/destination-recovery.ts';
import { HandOverText, ToDestination } from '../../migration/protocol/messages.ts';
import { TargetFacts } from '../../storage/model.ts';
import { ById, get, Nothing } from './contract-parts.ts';
import type { Endpoint } from './endpoint.ts';
import { PathId } from './model.ts';

/** A shadow with tens of thousands of routes has its place. */
const SHADOW_BYTES = 64 * 1024 * 1024;
/** Longest wait for news, ms. */
export const NEWS_MS = 20_000;

function post<P extends z.ZodType, B extends z.ZodType, A extends z.ZodType>(
  path: string,
  summary: string,
  shapes: { params: P; body: B; answer: A },
) {
  const fixed = { method: 'POST', status: 200, idempotent: false, query: Nothing } as const;
  return { ...fixed, path, tag: 'peer', summary, needs: 'peer' as const, bodyBytes: SHADOW_BYTES, ...shapes };
}

const peer = (summary: string) => ({ tag: 'peer', summary, needs: 'peer' as const });
const State = z.object({ state: StateText });

export const PEER_API = {
  peerClock: get('/v1/peer/clock', peer('What time it is here'), {
    ...{ params: Nothing, query: Nothing },
    answer: z.object({ host: z.string(), nowMs: z.number() }),
  }),
  peerDevices: get('/v1/peer/devices', peer('Devices that this host can give to guests'), {
    ...{ params: Nothing, query: Nothing },
    answer: z.object({ items: z.array(DeviceText) }),
  }),
  peerModel: get('/v1/peer/model', peer('What a device model is to a guest'), {
    params: Nothing,
    query: z.strictObject({
      machine: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,63}$/, 'a machine type of QEMU'),
      model: z.string().regex(/^[a-z0-9][a-z0-9,=._-]{0,127}$/, 'a device of QEMU'),
      field: z.string().max(200),
    }),
    answer: ModelText,
  }),
  peerReceiving: get('/v1/peer/receiving', peer('What its QEMU can receive'), {
    ...{ params: Nothing, query: Nothing },
    answer: z.object({
      postcopy: z.object({ supported: z.boolean(), reason: z.string() }),
      capabilities: z.array(z.string()),
    }),
  }),
  peerPlaces: post('/v1/peer/places', 'What there is at paths where disks shall come to', {
    params: Nothing,
    body: z.strictObject({ paths: z.array(z.string().min(1).max(4096)).max(8) }),
    answer: z.object({ items: z.array(TargetFacts) }),
  }),
  peerAbsent: post('/v1/peer/absent', 'Answer for a NIC that has no device, or stop', {
    params: Nothing,
    body: z.strictObject({
      ...{ vm: PathId, nic: PathId, network: z.string().max(64) },
      addresses: z.array(z.union([z.ipv4(), z.ipv6()])).max(4096),
    }),
    answer: Nothing,
  }),
  peerReserve: post('/v1/peer/incoming', 'Make ready for a VM', {
    params: Nothing,
    body: z.strictObject({ order: OrderText }),
    answer: State,
  }),
  peerTell: post('/v1/peer/messages', 'A message of the protocol', {
    params: Nothing,
    body: z.strictObject({ message: ToDestination }),
    answer: z.object({ state: StateText.nullable() }),
  }),
  peerStage: post('/v1/peer/incoming/{id}/staged', 'What the programs in the guest will do', {
    params: ById,
    body: z.strictObject({ nics: z.array(StagedText).max(8) }),
    answer: State,
  }),
  peerReport: get('/v1/peer/incoming/{id}', peer('What happened since; waits for something'), {
    params: ById,
    query: z.strictObject({
      after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
      waitMs: z.coerce.number().int().min(0).max(NEWS_MS).default(0),
    }),
    answer: z.object({
      ...{ handOver: HandOverText, state: StateText, told: z.array(Told) },
      nowMs: z.number(),
    }),
  }),
  peerOutgoing: get('/v1/peer/outgoing/{id}', peer('How far the source is with a migration'), {
    ...{ params: ById, query: Nothing },
    answer: z.object({ peer: z.enum(SOURCE_PEERS).exclude(['unreachable']) }),
  }),
} as const satisfies Record<string, Endpoint>;
