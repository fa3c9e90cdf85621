/** The things that the API shows. Times are milliseconds since the epoch, sizes bytes. */
import { z } from 'zod';

/** An id in a path: what could lead out of it, or mean something to a shell or a terminal, is no id. */
export const PathId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'letters, digits and ._-, at most 63');

const time = z.number().describe('ms since the epoch');

export const Problem = z
  .object({
    type: z.string().describe('`urn:shadowferry:error:CODE`'),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe('What happened.'),
    instance: z.string().describe('`urn:shadowferry:request:ID`; the id stands in the log of the daemon.'),
    code: z.string().describe('A code of docs/errors.md; it stays the same.'),
    kind: z.string(),
    fix: z.string().describe('What to do about it.'),
    params: z.record(z.string(), z.union([z.string(), z.number()])),
    errors: z
      .array(
        z.object({
          in: z.enum(['path', 'query', 'header', 'body']),
          pointer: z.string().describe('JSON pointer'),
          problem: z.string(),
        }),
      )
      .optional()
      .describe('Each thing that does not fit the schema of the request.'),
  })
  .meta({ id: 'Problem', description: 'A problem of RFC 9457.' });
export type Problem = z.infer<typeof Problem>;

export const Health = z.object({ status: z.enum(['ok', 'stopping']) }).meta({ id: 'Health' });

export const Version = z
  .object({
    name: z.literal('shadowferry'),
    version: z.string(),
    api: z.literal('v1'),
    host: z.string(),
    node: z.string(),
    startedMs: time,
  })
  .meta({ id: 'Version' });

const CheckResult = z.object({
  group: z.string(),
  name: z.string(),
  state: z.enum(['ok', 'warn', 'missing']),
  detail: z.string(),
  fix: z.string().optional(),
});

export const Examination = z
  .object({
    atMs: time,
    tookMs: z.number(),
    ok: z.boolean().describe('Whether nothing that is needed is missing.'),
    checks: z.array(CheckResult),
    qemu: z
      .object({
        path: z.string(),
        version: z.string(),
        accelerator: z.enum(['kvm', 'tcg']),
        acceleratorReason: z.string(),
        machines: z.int().describe('How many machine types it offers.'),
        netModels: z.array(z.string()),
        postcopy: z.boolean(),
        vfio: z.boolean(),
      })
      .nullable()
      .describe('null: no QEMU that starts.'),
  })
  .meta({ id: 'Examination', description: 'What a host has and lacks.' });
export type Examination = z.infer<typeof Examination>;

export const Host = z
  .object({
    name: z.string(),
    self: z.boolean().describe('Whether it is the host of the daemon that answers.'),
    address: z.string().nullable().describe('Where its daemon listens; null: on its Unix socket only.'),
    alive: z
      .boolean()
      .nullable()
      .describe('Whether the shared store heard of it a moment ago; null: that cannot be known.'),
    version: z.string().nullable().describe('Of Shadowferry there, as it says of itself.'),
    examination: Examination.nullable().describe(
      'The last look at it; null for other hosts, and before the first.',
    ),
  })
  .meta({ id: 'Host' });
export type Host = z.infer<typeof Host>;

export const Device = z
  .object({
    id: z.string(),
    host: z.string(),
    network: z.string(),
    kind: z.enum(['pci', 'emulated']),
    model: z.string().nullable().describe('QEMU model of an emulated one.'),
    address: z.string().nullable().describe('PCI address of a real one.'),
    present: z.boolean().describe('Whether it is in this machine; emulated ones always are.'),
    pciId: z.string().nullable(),
    driver: z.string().nullable().describe('The driver of the host that has it now.'),
    claimedBy: z.string().nullable().describe('The VM that holds it.'),
  })
  .meta({ id: 'Device' });
export type Device = z.infer<typeof Device>;

const ResultError = z.object({ code: z.string(), message: z.string() });

export const Migration = z
  .object({
    id: z.string(),
    kind: z.enum(['migration', 'swap', 'rescue']),
    vm: z.string(),
    source: z.string(),
    destination: z.string(),
    nic: z.string().nullable().describe('Of a swap or rescue: the device that was replaced.'),
    with: z.string().nullable().describe('Of a swap or rescue: the device that took its place.'),
    state: z.enum(['queued', 'open', 'ended']),
    queue: z
      .object({
        position: z.int().describe('1 is the first.'),
        reason: z.string().describe('Why it has not begun.'),
        tries: z.int().describe('How often it was put back.'),
      })
      .nullable()
      .describe('Where it stands, while it waits.'),
    held: z.boolean().describe('Whether it waits for a confirmation, with the VM paused.'),
    copy: z
      .object({
        transferredBytes: z.number(),
        remainingBytes: z.number(),
        totalBytes: z.number(),
        rateBps: z.number().describe('Bytes per second.'),
        etaMs: z.number().nullable().describe('null: it would not end at this rate.'),
      })
      .nullable()
      .describe('How far its memory is, while it is copied.'),
    phase: z.string().nullable().describe('Where it is, while it is open.'),
    committed: z.boolean().describe('Whether the destination owns the VM by it.'),
    createdMs: time,
    endedMs: time.nullable(),
    ending: z.string().nullable().describe('completed, degraded, rolled-back, planned or stuck.'),
    totalMs: z.number().nullable(),
    blackoutMs: z.number().nullable(),
    memoryBytes: z.number().nullable(),
    error: ResultError.nullable(),
  })
  .meta({ id: 'Migration' });
export type Migration = z.infer<typeof Migration>;

export const MigrationDetail = Migration.extend({
  request: z.unknown().describe('What was asked for.'),
  result: z.unknown().describe('The whole result; null while it is open.'),
}).meta({ id: 'MigrationDetail' });
export type MigrationDetail = z.infer<typeof MigrationDetail>;

const OutcomeOfAttribute = z.object({
  key: z.string(),
  fate: z.enum(['restored', 'adapted', 'lost']),
  value: z.string(),
  now: z.string().optional(),
  how: z.string().optional().describe('What adapting meant.'),
  why: z.string().optional(),
});

export const Reattachment = z
  .object({
    vm: z.string(),
    migration: z.string().nullable().describe('The degraded migration that ended with it.'),
    nics: z.array(
      z.object({
        nic: z.string(),
        action: z
          .enum(['none', 'attached', 'settled'])
          .describe('`settled`: only the comparison with the shadow was missing.'),
        reason: z.string(),
        device: z.object({ id: z.string(), model: z.string(), driver: z.string().optional() }),
        outcomes: z.array(OutcomeOfAttribute),
      }),
    ),
    said: z.array(z.string()).describe('What was done, in order.'),
  })
  .meta({ id: 'Reattachment' });
export type Reattachment = z.infer<typeof Reattachment>;

export const Step = z
  .object({
    seq: z.int(),
    phase: z.string(),
    name: z.string(),
    status: z.enum(['begun', 'done', 'failed', 'undone', 'undo-failed']),
    undo: z.array(z.string()).describe('What takes it back.'),
    beganMs: time,
    endedMs: time.nullable(),
    detail: z.string().nullable().describe('What it noted, as JSON.'),
  })
  .meta({ id: 'Step' });
export type Step = z.infer<typeof Step>;

export const Note = z
  .object({
    seq: z.int(),
    atMs: time,
    kind: z.string(),
    text: z
      .string()
      .describe('Notes for programs (kind `staged`) are JSON, and cut to 4096 characters here.'),
  })
  .meta({ id: 'Note' });
export type Note = z.infer<typeof Note>;

export const Explanation = z
  .object({
    id: z.string(),
    summary: z.string().describe('One sentence.'),
    lines: z.array(z.object({ atMs: time, text: z.string() })).describe('What happened, in order.'),
    advice: z.array(z.string()).describe('What to do now, if anything.'),
  })
  .meta({ id: 'Explanation' });
export type Explanation = z.infer<typeof Explanation>;

export const ShadowVersion = z
  .object({
    vm: z.string(),
    nic: z.string(),
    seq: z.int(),
    label: z.string(),
    by: z.string(),
    atMs: time,
    lastSeenMs: time,
    seen: z.int(),
    attributes: z.int(),
    changed: z.int(),
  })
  .meta({ id: 'ShadowVersion' });
export type ShadowVersion = z.infer<typeof ShadowVersion>;

export const Change = z.object({
  key: z.string(),
  before: z.string().optional(),
  after: z.string().optional(),
});

export const ShadowDetail = ShadowVersion.extend({
  changes: z.array(Change).describe('What changed with this version.'),
  shadow: z
    .record(z.string(), z.unknown())
    .nullable()
    .describe('The whole shadow; null where its form is not read any more.'),
}).meta({ id: 'ShadowDetail' });
export type ShadowDetail = z.infer<typeof ShadowDetail>;

export const ShadowDiff = z
  .object({
    vm: z.string(),
    nic: z.string(),
    from: z.int(),
    to: z.int(),
    equal: z.boolean(),
    changes: z.array(Change),
  })
  .meta({ id: 'ShadowDiff' });
export type ShadowDiff = z.infer<typeof ShadowDiff>;

/** One event, as `data:` of the stream holds it. */
export const ApiEvent = z
  .object({
    id: z.int().describe('Grows with every event; the reader that comes back says the last one.'),
    atMs: time,
    type: z.string(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'Event' });
export type ApiEvent = z.infer<typeof ApiEvent>;

/** A list that comes in pieces. */
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({
    items: z.array(item),
    next: z.string().nullable().describe('`cursor` of the next piece; null: this was the last.'),
  });
export interface Page<T> {
  items: T[];
  next: string | null;
}
