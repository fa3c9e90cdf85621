/** Programs in the kernel that are attached to an interface, and the files that keep them. Pure. */
import { z } from 'zod';
import { isObject, jsonObjects, type Report, type Section } from './capture-text.ts';
import type { XdpProgram } from './model.ts';
import type { FindPin } from './parse-tc-filter.ts';

const PinnedJson = z.looseObject({ id: z.number().int(), pinned: z.array(z.string()).default([]) });

/** The name that tc shows of a program that was attached by its pin: `cls:[*fsobj]`, of /sys/fs/bpf/…/cls. */
const BY_PIN = /^(.*):\[\*fsobj\]$/;

const NO_PIN = 'no file below /sys/fs/bpf keeps it';

/**
 * Finds the file that keeps a program.
 * @param programs section `programs`: `bpftool -j -f prog show`
 * @param pins section `pins`: the files below /sys/fs/bpf, where there is no bpftool to say what they are
 */
export function pinFinder(programs: Section | undefined, pins: Section | undefined, report: Report): FindPin {
  const byId = new Map<number, string>();
  for (const object of programs === undefined ? [] : programObjects(programs, report)) {
    const { data } = PinnedJson.safeParse(object);
    const pin = data?.pinned.toSorted()[0];
    if (data !== undefined && pin !== undefined) byId.set(data.id, pin);
  }
  const files = (pins?.lines ?? []).filter((line) => line.startsWith('/'));
  return (id, shown) => {
    const known = byId.get(id);
    if (known !== undefined) return { pin: known };
    if (files.length === 0) return { why: NO_PIN };
    const [, name] = BY_PIN.exec(shown) ?? [];
    const [file, ...others] =
      name === undefined ? [] : files.filter((each) => each.slice(each.lastIndexOf('/') + 1) === name);
    // the one file of the name that tc shows; whether it was the right one is seen by the number afterwards
    if (file !== undefined && others.length === 0) return { pin: file };
    return { why: 'the guest has no bpftool to tell which file below /sys/fs/bpf keeps it' };
  };
}

/** bpftool prints a list of programs, or an error object. */
function programObjects(section: Section, report: Report): Record<string, unknown>[] {
  if (section.code === 0) return jsonObjects(section, report);
  report('section programs', section.lines.join('\n'));
  return [];
}

const MODES: Readonly<Record<number, XdpProgram['mode']>> = { 1: 'native', 2: 'generic', 3: 'offload' };

const ProgramJson = z.object({
  id: z.number().int(),
  name: z.string().optional(),
  tag: z.string().optional(),
});
const AttachedJson = z.object({ mode: z.number(), prog: ProgramJson });
const XdpJson = z.union([
  z.looseObject({ attached: z.array(AttachedJson).min(1) }),
  AttachedJson.transform((one) => ({ attached: [one] })),
]);

/** XDP programs of an interface, from the `xdp` of `ip -j link`. */
export function xdpOf(xdp: unknown, name: string, findPin: FindPin, report: Report): XdpProgram[] {
  if (xdp === undefined) return [];
  const { data } = XdpJson.safeParse(xdp);
  const found = (data?.attached ?? []).flatMap(({ mode, prog }) => {
    const word = MODES[mode];
    return word === undefined ? [] : [{ mode: word, ...prog, ...findPin(prog.id, '') }];
  });
  if (data === undefined || found.length < data.attached.length) {
    report(`link ${name}`, `XDP: ${JSON.stringify(xdp)}`);
  }
  return found;
}

/**
 * Programs that hang at an interface's queueing without a qdisc (tcx), section `tcx`: `bpftool -j net show dev DEV`.
 * A link of some program of the guest holds them, and they end with the interface: only told.
 */
export function reportTcx(section: Section | undefined, report: Report): void {
  for (const object of section === undefined || section.code !== 0 ? [] : jsonObjects(section, report)) {
    for (const each of Array.isArray(object.tc) ? object.tc : []) {
      if (isObject(each) && typeof each.kind === 'string' && /^(tcx|netkit)/.test(each.kind)) {
        report(
          'program',
          `${each.kind} ${String(each.name ?? '')} id ${String(each.prog_id ?? each.id ?? '')}: held by a link of its owner, which must attach it again`,
        );
      }
    }
  }
}
