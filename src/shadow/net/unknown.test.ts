/**
 * What a later kernel, iproute2 or ethtool may add: a field in any object, a line in any section, of every golden
 * capture. None is dropped in silence.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attributesOf } from './attributes.ts';
import { parseCapture } from './capture.ts';
import { isObject, parseLooseJson } from './capture-text.ts';
import { GOLDENS, goldenIdentity, goldenText } from './golden.test-data.ts';
import type { NetShadow } from './model.ts';

/** Sections of JSON, one array a line. */
const JSON_SECTIONS = new Set(['ip-json', 'qdisc', 'bridge', 'fdb']);

/** Names of the interfaces that a shadow is about. */
function namesIn(shadow: NetShadow): Set<unknown> {
  const uppers = (shadow.uppers ?? []).map(({ link }) => link.name);
  return new Set([shadow.link.name, shadow.hardware?.name, shadow.lower?.name, ...uppers]);
}

/** Entries that the kernel makes or learns by itself, which nobody gives to a new device. */
function isNobodys(entry: Record<string, unknown>, macs: ReadonlySet<string>): boolean {
  const { lladdr, state, mac, flags, handle } = entry;
  if ('kind' in entry && handle === '0:') return true;
  if ('lladdr' in entry || Array.isArray(state)) {
    const states = Array.isArray(state) ? state : [];
    const group = /^(33:33:|01:00:5e:|ff:ff:ff:ff:ff:ff$)/.test(String(lladdr));
    return states.some((each) => ['FAILED', 'INCOMPLETE'].includes(String(each))) || group;
  }
  if (typeof mac !== 'string') return false;
  const isSelf = Array.isArray(flags) && flags.includes('self');
  const isGroup = (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
  return !['permanent', 'static'].includes(String(state)) || macs.has(mac) || (isSelf && isGroup);
}

/** Puts a field of its own into every object of `value`, and notes where. */
function addFields(value: unknown, path: string, added: Map<string, string>): unknown {
  if (Array.isArray(value)) return value.map((each) => addFields(each, `${path}[]`, added));
  if (!isObject(value)) return value;
  if (Object.keys(value).length === 0) return value; // ip prints these between others: no entry
  const changed: Record<string, unknown> = {};
  for (const [key, each] of Object.entries(value)) changed[key] = addFields(each, `${path}.${key}`, added);
  const field = `zz_new_${added.size}_`;
  added.set(field, path);
  return { ...changed, [field]: 7 };
}

describe('a field that is new', () => {
  for (const name of GOLDENS) {
    it(`is reported wherever it is in ${name}`, () => {
      const identity = goldenIdentity(name);
      const shadow = parseCapture(goldenText(name), identity);
      const names = namesIn(shadow);
      const below = shadow.lower?.name; // its groups are those of the interface that carries the addresses
      const added = new Map<string, string>();
      const macs = new Set(
        [shadow.link, ...(shadow.uppers ?? []).map(({ link }) => link)].map(({ mac }) => mac),
      );
      let section = '';
      const lines = goldenText(name)
        .split('\n')
        .map((line) => {
          if (line.startsWith('@@ ')) section = line.slice(3);
          if (!JSON_SECTIONS.has(section) || !line.startsWith('[')) return line;
          let list: unknown;
          try {
            list = parseLooseJson(line);
          } catch {
            return line; // an error in words
          }
          if (!Array.isArray(list)) return line;
          const changed = list.map((entry) => {
            if (!isObject(entry)) return entry;
            const { ifname, dev, mdb } = entry;
            if (Array.isArray(mdb)) {
              const isOurs = (one: unknown) =>
                isObject(one) && names.has(one.port) && one.state === 'permanent';
              return {
                ...entry,
                mdb: mdb.map((one) => (isOurs(one) ? addFields(one, 'mdb[]', added) : one)),
              };
            }
            const whose = [ifname, dev].filter((each) => each !== undefined);
            const ours = whose.length === 0 ? 'group' in entry : whose.some((each) => names.has(each));
            if (!ours || isNobodys(entry, macs) || ('maddr' in entry && ifname === below)) return entry;
            return addFields(entry, section, added);
          });
          return JSON.stringify(changed);
        });
      assert.ok(added.size > 5);
      // told, or kept: of what is not remade all is kept as it is
      const told = JSON.stringify(parseCapture(lines.join('\n'), identity));
      assert.deepEqual(
        [...added].flatMap(([field, path]) => (told.includes(field) ? [] : [path])),
        [],
      );
    });
  }
});

describe('a line of ethtool that is new', () => {
  /** In the forms that ethtool's lines have; `n` makes each the only one of its kind. */
  const linesOf = (n: number) => [
    `New thing ${n}: 5`,
    `\tNew thing ${n}x: 5`,
    `\tnew words ${n}y`,
    `new-thing 5 ${n}z`,
  ];
  const asText = (shadow: NetShadow) => attributesOf(shadow).map(({ key, value }) => `${key} ${value}`);
  for (const name of GOLDENS) {
    it(`is reported in every section of ${name}, or kept as a setting`, () => {
      const added: string[] = [];
      let count = 0;
      const changed = goldenText(name).replace(
        /^(@@ ethtool-\S+\n(?:(?!@@)[^\n]*\n)+)@@\. 0$/gm,
        (_, section: string) => {
          const lines = linesOf(count++);
          added.push(...lines);
          return `${section}${lines.join('\n')}\n@@. 0`;
        },
      );
      const before = asText(parseCapture(goldenText(name), goldenIdentity(name)));
      const after = parseCapture(changed, goldenIdentity(name));
      const told = new Set(after.unknown.map(({ text }) => text));
      const kept = asText(after).filter((each) => !before.includes(each));
      const silent = added.filter((line) => {
        const setting = line.toLowerCase().replace(':', '').replace('new thing ', '.new-thing-');
        return !told.has(line.trim()) && !kept.some((each) => each.endsWith(setting));
      });
      assert.deepEqual(silent, []);
      // nothing else has become of them, and nothing of what was there
      for (const each of kept) assert.match(each, /\.new-thing-\d+ 5$/);
      const now = new Set(asText(after));
      assert.deepEqual(
        before.filter((each) => !now.has(each)),
        [],
      );
    });
  }
});
