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
function isNobodys(entry: Record<string, unknown>, macs: ReadonlySet<unknown>): boolean {
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
      const macs = new Set<unknown>();
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
            const { ifname, dev, address } = entry;
            if ('addr_info' in entry) macs.add(address);
            const whose = [ifname, dev].filter((each) => each !== undefined);
            const ours = whose.length === 0 ? 'group' in entry : whose.some((each) => names.has(each));
            if (!ours || isNobodys(entry, macs) || ('maddr' in entry && ifname === below)) return entry;
            return addFields(entry, section, added);
          });
          return JSON.stringify(changed);
        });
      assert.ok(added.size > 5);
      const { unknown } = parseCapture(lines.join('\n'), identity);
      const told = unknown.map(({ text }) => text).join('\n');
      assert.deepEqual(
        [...added].flatMap(([field, path]) => (told.includes(field) ? [] : [path])),
        [],
      );
    });
  }
});

describe('a line of ethtool that is new', () => {
  const LINES = ['New thing: 5', '\tNew thing: 5', '\tnew words', 'new-thing 5'];
  const asText = (shadow: NetShadow) => attributesOf(shadow).map(({ key, value }) => `${key} ${value}`);
  for (const name of GOLDENS) {
    it(`is reported in every section of ${name}, or kept as a setting`, () => {
      const identity = goldenIdentity(name);
      const text = goldenText(name);
      const before = asText(parseCapture(text, identity));
      const sections = [...text.matchAll(/^@@ (ethtool-\S+)\n((?:(?!@@)[^\n]*\n)+)@@\. 0$/gm)];
      for (const [whole, section = ''] of sections) {
        for (const line of LINES) {
          const changed = text.replace(whole, () => whole.replace(/\n@@\. 0$/, `\n${line}\n@@. 0`));
          const after = parseCapture(changed, identity);
          const told = after.unknown.some((each) => each.text.includes(line.trim()));
          const kept = told ? [] : ['new-thing 5'];
          const more = asText(after).filter((each) => !before.includes(each));
          assert.deepEqual(
            more.map((each) => each.replace(/^\w+\./, '')),
            kept,
            `${section}: ${JSON.stringify(line)}`,
          );
          assert.ok(before.every((each) => asText(after).includes(each)));
        }
      }
    });
  }
});
