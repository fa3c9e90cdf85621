/** XDP programs of an interface. */
import type { LinkState, XdpProgram } from './model.ts';
import { type Draft, draft, type Findings } from './plan-draft.ts';
import type { Stage } from './plan-model.ts';
import { lostProgram } from './plan-tc.ts';

/** Canonical form: `native id 12 name pass tag 3b185187f1855c4c`. */
export const xdpValue = (programs: readonly XdpProgram[]): string =>
  programs
    .map(({ mode, id, name, tag }) =>
      [mode, 'id', String(id), ...(name ? ['name', name] : []), ...(tag ? ['tag', tag] : [])].join(' '),
    )
    .join('; ');

/** Words of `ip link set`. A driver that cannot run a program natively has the kernel run it. */
const WORDS: Readonly<Record<XdpProgram['mode'], string>> = {
  native: 'xdp',
  generic: 'xdpgeneric',
  offload: 'xdpoffload',
};

/**
 * Attaches an interface's programs again, by the files that keep them.
 * @param generic the interface is a shadow interface: a native program would keep every port away that has no XDP
 */
export function xdpDrafts(
  link: LinkState,
  dev: string,
  options: { stage: Stage; key: string; generic: boolean },
  found: Findings,
): Draft[] {
  const { stage, key, generic } = options;
  return (link.xdp ?? []).flatMap((program) => {
    if (program.pin === undefined) {
      found.losses.push({ key, value: xdpValue(link.xdp ?? []), why: lostProgram(program) });
      return [];
    }
    const word = generic ? WORDS.generic : WORDS[program.mode];
    return [draft(stage, 'ip', ['link', 'set', 'dev', dev, word, 'pinned', program.pin], [key])];
  });
}

/** Takes the programs off a device that goes below a shadow interface, which has them now: no frame passes twice. */
export const clearXdpDrafts = (link: LinkState, dev: string): Draft[] =>
  (link.xdp ?? [])
    .filter(({ pin }) => pin !== undefined)
    .map(({ mode }) => draft('rest', 'ip', ['link', 'set', 'dev', dev, WORDS[mode], 'off']));

/** What became of a program that runs in another way than before; nothing when it is another program. */
export function xdpAdapted(value: string, now: string | undefined, device: string): string | undefined {
  if (now === undefined || now !== value.replaceAll(/\b(native|offload)\b/g, 'generic')) return undefined;
  return `${device} does not run it itself: the kernel does, for any device (generic)`;
}
