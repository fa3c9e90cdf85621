/**
 * What a comparison is between: the VM's device now, a version that was seen, a file, or another VM. In words:
 *
 *   now            the present state
 *   last, 7        the newest version; version 7
 *   1.0.2.0        the newest version with this label
 *   ./a.json       a file that `shadow show --json` wrote, or one of a bare shadow: whatever has a / or ends in .json
 *   web2, web2@7   another VM now, or a version of it
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { NetShadow } from '../shadow/net/model.ts';
import { readLabel } from '../shadow/store/label.ts';
import type { ShadowStore, ShadowVersion } from '../shadow/store/store.ts';

export type Operand =
  | { kind: 'now'; vm: string }
  | { kind: 'version'; vm: string; version: string }
  | { kind: 'file'; path: string };

const isVersion = (text: string) =>
  text === 'last' || /^[1-9]\d{0,14}$/.test(text) || readLabel(text) !== undefined;

/** Reads one operand. @param field names it in errors @throws INPUT_FIELD */
export function parseOperand(field: string, text: string, vm: string): Operand {
  if (text === 'now') return { kind: 'now', vm };
  if (isVersion(text)) return { kind: 'version', vm, version: text };
  if (text.includes('/') || text.endsWith('.json')) return { kind: 'file', path: text };
  const [other = '', version, ...rest] = text.split('@');
  if (/^[a-z][a-z0-9-]{0,30}$/.test(other) && rest.length === 0) {
    if (version === undefined || version === 'now') return { kind: 'now', vm: other };
    if (isVersion(version)) return { kind: 'version', vm: other, version };
  }
  const problem = `"${text}" is neither a version (7, 1.0.2.0, last, now), nor a file (./a.json), nor a VM (web2, web2@7)`;
  throw new ShadowferryError('INPUT_FIELD', { field, problem });
}

/** A version by its number, its label or `last`. @throws UNKNOWN_VERSION naming those that there are */
export function findVersion(
  store: ShadowStore,
  at: { field: string; vm: string; nic: string },
  text: string,
): ShadowVersion {
  const { vm, nic, field } = at;
  const found =
    text === 'last'
      ? store.last(vm, nic)
      : readLabel(text) === undefined
        ? store.version(vm, nic, Number(text))
        : store.versions(vm, nic).findLast(({ label }) => label === text);
  if (found !== undefined) return found;
  const versions = store.versions(vm, nic);
  const [first, last] = [versions[0], versions.at(-1)];
  const allowed =
    first === undefined || last === undefined
      ? '(none was seen yet)'
      : first === last
        ? `${first.seq}`
        : `${first.seq} to ${last.seq}`;
  throw new ShadowferryError('UNKNOWN_VERSION', {
    field,
    value: text,
    what: `NIC ${nic} of VM "${vm}"`,
    allowed,
  });
}

/** What `shadow show --json` prints, as far as it matters here. */
const Shown = z.object({
  type: z.literal('shadow'),
  nics: z.array(z.object({ nic: z.string(), shadow: NetShadow })),
});

/**
 * Reads a file of a shadow.
 * @param nic which one, where the file has several
 * @throws INPUT_FIELD
 */
export async function readShadowFile(
  field: string,
  path: string,
  nic: string | undefined,
): Promise<NetShadow> {
  const wrong = (problem: string, cause?: unknown) =>
    new ShadowferryError('INPUT_FIELD', { field, problem: `${path} ${problem}` }, { cause });
  let content: unknown;
  try {
    content = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw wrong(`cannot be read: ${reasonOf(error)}`, error);
  }
  const shown = Shown.safeParse(content);
  if (shown.success) {
    const { nics } = shown.data;
    const found = nics.find((each) => each.nic === nic) ?? (nics.length === 1 ? nics[0] : undefined);
    if (found !== undefined) return found.shadow;
    throw wrong(`has the NICs ${nics.map((each) => each.nic).join(', ')}; choose one with --nic`);
  }
  const bare = NetShadow.safeParse(content);
  if (bare.success) return bare.data;
  throw wrong('is not what "shadowferry shadow show --json" writes', bare.error);
}
