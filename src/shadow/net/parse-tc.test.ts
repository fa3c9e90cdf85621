import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { attributesOf } from './attributes.ts';
import { splitSections } from './capture-text.ts';
import type { NetShadow } from './model.ts';
import { trafficControlOf } from './parse-tc.ts';
import { shadow } from './plan.test-data.ts';
import { filterValue } from './plan-tc.ts';
import { burstWord, printedBurst, roundingOf } from './tc-burst.ts';

/** Reads what the capture script printed of traffic control on `d0`. */
function read(printed: string): { tc: NetShadow; unknown: string[] } {
  const sections = new Map(splitSections(printed).map((section) => [section.name, section]));
  const unknown: string[] = [];
  const context = { carrying: 'd0', lower: undefined, findPin: () => ({ why: 'it has no pin' }) };
  const found = trafficControlOf(sections, context, (where, text) => unknown.push(`${where}: ${text}`));
  return { tc: shadow({ ...found, sysctls: [], multicast: [] }), unknown };
}

/** Attributes of traffic control, a line each. */
const lines = (tc: NetShadow): string[] =>
  attributesOf(tc)
    .filter(({ key }) => /^(qdisc|tcclass|filter)\./.test(key))
    .map(({ key, value }) => `${key} = ${value}`);

/** Sections of one answer, as the script prints them. */
const printed = (filters: string, place = 'ingress'): string =>
  `@@ filter-places\n${place}\n@@. 0\n@@ filter\n${filters}\nObject "end" is unknown, try "tc help".\nCommand failed -:2\nObject "end" is unknown, try "tc help".\n@@. 0\n@@ end\n@@. 0\n`;

for (const release of ['debian12', 'debian13']) {
  describe(`traffic control as iproute2 of ${release} prints it`, () => {
    const golden = readFileSync(new URL(`./golden/tc-${release}.txt`, import.meta.url), 'utf8');
    for (const text of golden.split('== configured\n').slice(1)) {
      const [configured = '', rest = ''] = text.split('== printed\n');
      const [captured = '', expected = ''] = rest.split('== attributes\n');
      it(configured.split('\n').slice(0, 2).join('; '), () => {
        const { tc, unknown } = read(captured);
        assert.deepEqual(
          [...lines(tc), ...unknown.map((each) => `unknown ${each.split('\n')[0]}`.trimEnd())],
          expected.trimEnd().split('\n'),
        );
      });
    }
  });
}

describe('what is not understood', () => {
  const matchall =
    'filter protocol ip pref 21 matchall chain 0 \nfilter protocol ip pref 21 matchall chain 0 handle 0x1 \n  not_in_hw\n';
  const action =
    '\taction order 1: gact action drop\n\t random type none pass val 0\n\t index 1 ref 1 bind 1\n';

  it('is reported with all its text, and nothing else is lost with it', () => {
    const odd = action.replace('gact action drop', 'gact action teleport');
    const { tc, unknown } = read(printed(`${matchall}${odd}${matchall.replaceAll('21', '22')}${action}`));
    assert.deepEqual(
      tc.filters?.map(({ pref }) => pref),
      [22],
    );
    assert.equal(unknown.length, 1);
    assert.match(unknown[0] ?? '', /^filter ingress: filter protocol ip pref 21[\s\S]*teleport/);
  });
  it('is any classifier, action, option or class that is not known', () => {
    for (const [text, what] of [
      [matchall.replaceAll('matchall', 'tcindex'), /tcindex/],
      [matchall.replace('not_in_hw', 'upside_down'), /upside_down/],
      [`${matchall}${action.replace('gact', 'gate')}`, /gate/],
      [`${matchall}${action.replace('bind 1', 'bind 1 brand new')}`, /brand new/],
      [
        `${matchall}\taction order 1:  nat ingress 1.2.3.0/32 5.6.7.0 pass\n\t index 1 ref 1 bind 1`,
        /nat ingress/,
      ],
    ] as const) {
      const { tc, unknown } = read(printed(text));
      assert.deepEqual(tc.filters, []);
      assert.match(unknown.join(), what);
    }
    const classes =
      '@@ class\nclass cbq 1:1 root rate 5Mbit\nclass htb 1:2 root rate 5Mbit odd 7\n@@. 0\n@@ end\n@@. 0\n';
    assert.equal(read(classes).unknown.length, 2);
  });
  it('are answers that are too few or too many: all of it is reported', () => {
    const { unknown } = read(printed(`${matchall}${action}`, 'ingress\negress'));
    assert.match(unknown.join(), /action drop/);
  });
  it('is the template of a chain', () => {
    const { unknown } = read(
      printed(
        `Object "end" is unknown\nchain parent ffff: flower chain 3 \n  eth_type ipv4\nchain parent ffff: chain 4 `,
      ).replace('Command failed -:2\nObject "end" is unknown, try "tc help".\n', ''),
    );
    assert.equal(unknown.length, 1);
    assert.match(unknown[0] ?? '', /chain ingress: a template/);
  });
});

describe('a program of a filter', () => {
  const text =
    'filter protocol all pref 5 bpf chain 0 \nfilter protocol all pref 5 bpf chain 0 handle 0x1 cls:[*fsobj] direct-action not_in_hw id 12 name cls tag a04f5eef06a7f555 jited \n';
  it('is known by its number, name and tag', () => {
    const { tc, unknown } = read(printed(text));
    assert.deepEqual(unknown, []);
    const [filter] = tc.filters ?? [];
    assert.ok(filter);
    assert.equal(filterValue(filter), 'bpf direct-action id 12 name cls tag a04f5eef06a7f555');
  });
});

describe('bursts', () => {
  it('are printed the same again by the release that printed them', () => {
    for (const rounding of ['down', 'exact'] as const) {
      for (const rate of [1250, 125_000, 416_625, 12_500_000, 125_000_000, 2_500_000_000]) {
        for (const bytes of [1600, 1599, 15_000, 20_480, 123_457, 1_000_000]) {
          const first = printedBurst(bytes, rate, 'tc', rounding);
          if (first === 0) continue;
          const word = burstWord(`${first}b/1`, rate, rounding) ?? '';
          assert.equal(
            printedBurst(Number.parseInt(word, 10), rate, 'tc', rounding),
            first,
            `${rate} ${bytes} ${rounding}`,
          );
        }
      }
    }
  });
  it('round as the release does', () => {
    assert.equal(roundingOf('tc utility, iproute2-6.1.0, libbpf 1.1.2'), 'down');
    assert.equal(roundingOf('tc utility, iproute2-6.15.0, libbpf 1.5.0'), 'exact');
    assert.equal(roundingOf('tc utility, iproute2-5.10.0'), 'down');
    assert.equal(roundingOf('tc utility, iproute2-7.0.0'), 'exact');
    assert.equal(roundingOf(''), 'down');
  });
});
