/** The result of a migration as it is written and sent. What an older or shorter one leaves out has a value here. */
import { z } from 'zod';
import { PHASES } from '../base/phases.ts';
import { type ErrorCode, isErrorCode } from '../errors.ts';
import { Continuity } from '../shadow/net/plan-model.ts';

const Code = z.custom<ErrorCode>(
  (value) => typeof value === 'string' && isErrorCode(value),
  'no code of the catalogue',
);
const ResultErrorText = z.object({
  code: Code.catch('INTERNAL'),
  message: z.string(),
  fix: z.string().default(''),
});

const attribute = { nic: z.string().exactOptional(), key: z.string(), value: z.string() };
const ShadowText = z.object({
  captured: z.int(),
  restored: z.array(z.object({ fate: z.literal('restored'), ...attribute })),
  adapted: z.array(z.object({ fate: z.literal('adapted'), ...attribute, now: z.string(), how: z.string() })),
  lost: z.array(z.object({ fate: z.literal('lost'), ...attribute, why: z.string() })),
});

const Device = z.object({ model: z.string(), driver: z.string() });
const Phase = z.enum(PHASES);

const NicText = z.object({
  ...{ nic: z.string(), mac: z.string(), network: z.string().exactOptional(), ok: z.boolean() },
  from: Device.extend({ device: z.string() }),
  to: z.object({ device: z.string(), model: z.string(), driver: z.string().nullable() }),
  continuity: Continuity.exactOptional(),
  shadow: ShadowText,
  persisted: z.array(z.string()).exactOptional(),
  error: ResultErrorText.exactOptional(),
});

const ProgressText = z.object({
  ...{ type: z.literal('progress'), atMs: z.number(), phase: Phase },
  ...{ transferred: z.number(), remaining: z.number(), total: z.number() },
  ...{ rateBps: z.number(), dirtyRateBps: z.number(), round: z.number() },
  ...{ etaMs: z.number().nullable(), reason: z.string(), of: z.literal('disks').exactOptional() },
  version: z.string().exactOptional(),
  residual: z.object({ bytes: z.number(), etaMs: z.number().nullable() }).default({ bytes: 0, etaMs: null }),
});

const nothing = { captured: 0, restored: [], adapted: [], lost: [] };

export const ResultText = z.object({
  kind: z.enum(['swap', 'rescue', 'recovered']).exactOptional(),
  ...{ id: z.string(), vm: z.string(), source: z.string(), destination: z.string() },
  ending: z.enum(['completed', 'degraded', 'rolled-back', 'planned', 'stuck']),
  ok: z.boolean(),
  from: Device.default({ model: 'unknown', driver: 'unknown' }),
  to: Device.exactOptional(),
  continuity: Continuity.exactOptional(),
  strategy: z.enum(['precopy', 'postcopy']).exactOptional(),
  startedAtMs: z.number().default(0),
  totalMs: z.number(),
  blackoutMs: z.number().nullable(),
  qemuDowntimeMs: z.number().nullable().default(null),
  memoryBytes: z.number(),
  phases: z.array(z.object({ name: Phase, startMs: z.number(), durationMs: z.number() })).default([]),
  steps: z
    .array(
      z.object({
        ...{ phase: Phase, name: z.string(), startMs: z.number(), durationMs: z.number() },
        ...{ critical: z.boolean(), detail: z.string().exactOptional() },
      }),
    )
    .default([]),
  marks: z
    .array(z.object({ name: z.string(), atMs: z.number(), detail: z.string().exactOptional() }))
    .default([]),
  progress: z.array(ProgressText).default([]),
  decisions: z.array(z.object({ atMs: z.number(), action: z.string(), reason: z.string() })).default([]),
  warnings: z.array(z.string()).default([]),
  shadow: ShadowText.default(nothing),
  nics: z.array(NicText).default([]),
  error: ResultErrorText.exactOptional(),
  left: z.array(z.string()).default([]),
});
