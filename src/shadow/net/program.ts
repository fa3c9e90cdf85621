/** The replay program as the host sees it: its text, the files it needs, and the events that it sends. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { captureScript } from './capture.ts';
import { assignments, compilePlan, type GuestFile } from './compile.ts';
import { OperationSet, type ReplayPlan, Stage } from './plan-model.ts';

const textOf = (file: string): string => readFileSync(new URL(file, import.meta.url), 'utf8');

/** The program's text: one POSIX shell file, the same for every guest. */
export function programText(): string {
  return textOf('./program.sh');
}

/** Where the program of one device finds things in the guest. */
export interface ProgramOptions {
  /** Directory of the program in the guest, one per device, e.g. `/run/shadowferry/net0`. */
  dir: string;
  /** Device of the virtio-serial port, e.g. `/dev/virtio-ports/org.shadowferry.0`; undefined: it only keeps its log. */
  port?: string;
  /** Where it answers when `port` goes one way only: the other one of a pair of fifos. */
  reply?: string;
  /** Plan for the destination's device. */
  destination: ReplayPlan;
  /** Plan for the source's own device, for a rollback. */
  source: ReplayPlan;
}

/** All files that the program needs, itself included, as `DIR/program.sh`. Start it with `sh DIR/program.sh DIR`. */
export function programFiles(options: ProgramOptions): GuestFile[] {
  const { dir } = options;
  return [
    { path: `${dir}/program.sh`, text: programText(), mode: 0o700 },
    { path: `${dir}/tuning.sh`, text: textOf('./tuning.sh'), mode: 0o600 },
    {
      path: `${dir}/config`,
      text: assignments({ port: options.port ?? '', reply: options.reply ?? '' }),
      mode: 0o600,
    },
    ...(learns(options.destination)
      ? [{ path: `${dir}/capture.sh`, text: captureScript(), mode: 0o600 }]
      : []),
    ...compilePlan(options.destination, `${dir}/destination`),
    ...compilePlan(options.source, `${dir}/source`),
  ];
}

/** Does the plan look at the new device before it sets anything? Then `DIR/fresh` is a capture of it. */
export const learns = (plan: ReplayPlan): boolean =>
  plan.sets.attach.some(({ tool, argv }) => tool === 'tune' && argv[0] === 'learn');

const at = {
  /** Seconds since the guest's boot, to 10 ms, by the guest's clock. */
  up: z.number().nonnegative(),
};
const name = z.string().max(64);
const text = z.string().max(400);
const count = z.number().int().nonnegative();

/** One line that the program sends. The guest is not trusted: everything is bounded. */
export const ProgramEvent = z.discriminatedUnion('e', [
  /** It listens for devices and commands. */
  z.object({ ...at, e: z.literal('ready'), pid: count }),
  z.object({ ...at, e: z.literal('pong'), n: count }),
  /** The interface is a shadow interface; `changed` 0 when it was one already. */
  z.object({ ...at, e: z.literal('adopted'), changed: count, failed: count }),
  /** Traffic has left the direct device: it may be unplugged. */
  z.object({ ...at, e: z.literal('left'), failed: count }),
  z.object({ ...at, e: z.literal('givenback'), failed: count }),
  /** The device that was there is not any more. */
  z.object({ ...at, e: z.literal('gone') }),
  /** The new device is there, under its first name. */
  z.object({ ...at, e: z.literal('seen'), dev: name }),
  /** It has its final name. */
  z.object({ ...at, e: z.literal('claimed'), dev: name }),
  /** A stage of a set is over. */
  z.object({ ...at, e: z.literal('stage'), set: OperationSet, name: Stage }),
  /** One operation failed. */
  z.object({ ...at, e: z.literal('op'), set: OperationSet, id: count, rc: z.number().int(), err: text }),
  /** A batch is over; `failed` counts its operations that failed, of which the first have an event `op` each. */
  z.object({ ...at, e: z.literal('batch'), set: OperationSet, first: count, count, failed: count }),
  z.object({ ...at, e: z.literal('carrier'), dev: name }),
  /** Traffic flows through the new device. */
  z.object({ ...at, e: z.literal('active'), dev: name }),
  /** All operations of `attach` were run; `failed` of them failed. */
  z.object({ ...at, e: z.literal('replayed'), failed: count }),
  /** Replayed and active. */
  z.object({ ...at, e: z.literal('done') }),
  /** What was asked for was not done at all. */
  z.object({ ...at, e: z.literal('failed'), what: name, err: text }),
  z.object({ ...at, e: z.literal('stopped') }),
]);
export type ProgramEvent = z.infer<typeof ProgramEvent>;

/** Longest line that is looked at, in characters. */
export const MAX_EVENT_LINE = 4096;

/** Parses one line of the program; undefined when it is not an event. */
export function parseProgramEvent(line: string): ProgramEvent | undefined {
  if (line.length > MAX_EVENT_LINE) return undefined;
  try {
    return ProgramEvent.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
