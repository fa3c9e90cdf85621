import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ShadowferryError } from '../../errors.ts';
import { attributesOf } from './attributes.ts';
import { parseCapture } from './capture.ts';
import { GOLDENS, type GoldenName, goldenIdentity, goldenText } from './golden.test-data.ts';
import { NetShadow } from './model.ts';
import { summary, verify } from './verify.ts';

const identity = goldenIdentity('e1000e');

/** Any legal name of an interface: up to 15 bytes, no white space, `/` or `:`; also words of ip's own language. */
const Name = fc.oneof(
  fc.constantFrom(
    'dev',
    'via',
    'metric',
    'tos',
    'inet6',
    'expires',
    'nhid',
    'encap',
    '.x',
    '..x',
    '%s',
    'nexthop',
    'lookup',
    'iif',
    'table',
    'scope',
    'unicast',
    'lock',
    '@@',
    '@@.',
    '-d',
    '*',
  ),
  fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 15 })
    .map((text) => text.replace(/[\s\p{Cs}/:]/gu, ''))
    .filter((text) => text !== '' && text !== '.' && text !== '..' && Buffer.byteLength(text) <= 15),
);

/** As iproute2 prints a string: only some characters are escaped, and old releases escape too much. */
const ipString = (text: string, old: boolean): string => {
  const escaped = text.replace(/["\\\n\t\r\b\f]/g, (char) => JSON.stringify(char).slice(1, -1));
  return `"${old ? escaped.replaceAll("'", "\\'") : escaped}"`;
};

/** A small capture of a device called `name`. */
function captureOf(name: string, alias: string, old = false): string {
  const quoted = ipString(name, old);
  return [
    '@@ capture',
    'version 1',
    `device ${name}`,
    `carrying ${name}`,
    'found-by mac',
    '@@. 0',
    '@@ sysfs',
    `${name} driver e1000e`,
    `${name} pci/vendor 0x8086`,
    `${name} pci/device 0x10d3`,
    '@@. 0',
    '@@ sysctl',
    `/proc/sys/net/ipv4/conf/${name}/rp_filter:2`,
    '@@. 0',
    '@@ ip-json',
    `[{"ifindex":2,"ifname":${quoted},"flags":["UP"],"mtu":1500,"txqlen":1000,"address":"52:54:00:00:00:01","ifalias":${ipString(alias, old)},"addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24,"label":${quoted}}]}]`,
    `[{"dst":"10.0.0.2","dev":${quoted},"lladdr":"52:54:00:00:00:02","state":["PERMANENT"]}]`,
    `[{"ifname":${quoted},"maddr":[{"link":"01:00:5e:01:02:03","features":"static"}]}]`,
    '@@. 0',
    '@@ ip-4',
    `unicast 10.1.0.0/16 via 10.0.0.9 dev ${name} table main proto boot scope global `,
    `unicast 10.2.0.0/16 table main proto boot scope global `,
    `\tnexthop via 10.0.0.8 dev ${name} weight 1 `,
    `100:\tfrom all iif ${name} lookup main`,
    '@@. 0',
    '@@ ip-6',
    `unicast 2001:db8::/32 dev ${name} table main proto boot scope global metric 1024 pref medium`,
    '@@. 0',
    '@@ qdisc',
    `[{"kind":"pfifo","handle":"5:","dev":${quoted},"root":true,"options":{"limit":7}}]`,
    '@@. 0',
    '@@ end',
    '@@. 0',
    '',
  ].join('\n');
}

describe('names and texts that a user may choose', () => {
  it('are read as they are, in every place', () => {
    fc.assert(
      fc.property(Name, fc.string({ unit: 'binary' }), fc.boolean(), (name, alias, old) => {
        const shadow = parseCapture(captureOf(name, alias, old), identity);
        assert.equal(shadow.hardware?.name, name);
        assert.equal(shadow.link.name, name);
        assert.equal(shadow.link.alias, alias);
        assert.deepEqual(
          shadow.routes.map(({ args }) => args.slice(args.indexOf('dev'), args.indexOf('dev') + 2)),
          [
            ['dev', name],
            ['dev', name],
            ['dev', name],
          ],
        );
        assert.deepEqual(shadow.rules[0]?.args, ['from', 'all', 'iif', name, 'lookup', 'main']);
        assert.equal(shadow.addresses.length, 1);
        assert.equal(shadow.neighbours.length, 1);
        assert.equal(shadow.multicast.length, 1);
        assert.equal(shadow.qdiscs.length, 1);
        assert.equal(shadow.sysctls.length, 1);
        assert.deepEqual(shadow.unknown, []);
      }),
    );
  });

  it('give attributes that can be printed, and the same for every name', () => {
    const named = (name: string) =>
      attributesOf(parseCapture(captureOf(name, 'x'), identity)).filter(
        ({ key }) => key !== 'link.name' && !key.startsWith('rule.'),
      );
    fc.assert(
      fc.property(Name, (name) => {
        assert.deepEqual(named(name), named('eth0'));
      }),
    );
    fc.assert(
      fc.property(Name, fc.string({ unit: 'binary' }), (name, alias) => {
        for (const { key, value } of attributesOf(parseCapture(captureOf(name, alias), identity))) {
          assert.doesNotMatch(`${key}${value}`, /[\p{Cc}\p{Zl}\p{Zp}]/u);
        }
      }),
    );
  });
});

describe('what a later kernel or iproute2 may add', () => {
  const Json = fc.jsonValue({ maxDepth: 2 });
  it('never throws, and lands in unknown: fields', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^new_[a-z]{1,12}$/),
        Json,
        fc.constantFrom(...['"mtu":', '"prefixlen":', '"lladdr":', '"kind":"pf']),
        (key, value, at) => {
          const text = captureOf('eth0', '').replace(
            at,
            () => `${JSON.stringify(key)}:${JSON.stringify(value)},${at}`, // a plain string would have its `$` read
          );
          const { unknown } = parseCapture(text, identity);
          assert.ok(
            unknown.some((one) => one.text.includes(key)),
            JSON.stringify(unknown),
          );
        },
      ),
    );
  });

  it('never throws, and lands in unknown: sections, objects and words', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^new-[a-z]{1,12}$/), Json, (word, value) => {
        const object = JSON.stringify([{ [word]: value }]);
        const text = captureOf('eth0', '')
          .replace('@@ end\n', `@@ ${word}\nsomething\n@@. 0\n@@ end\n`)
          .replace('@@ ip-json\n', () => `@@ ip-json\n${object}\n`)
          .replace(
            '\n100:\t',
            `\nunicast 10.3.0.0/16 dev eth0 ${word} 5\n101:\tfrom all iif eth0 ${word} 5\n100:\t`,
          );
        const { unknown, routes, rules } = parseCapture(text, identity);
        assert.deepEqual(
          unknown.map(({ where }) => where).sort(),
          ['ip-json', 'route', 'rule', `section ${word}`].sort(),
        );
        assert.equal(routes.length, 3);
        assert.equal(rules.length, 1);
      }),
    );
  });
});

describe('a capture that was tampered with', () => {
  it('gives a shadow of the model or an error of the catalogue, whatever is changed', () => {
    const Change = fc.record({
      name: fc.constantFrom(...GOLDENS),
      line: fc.nat(),
      kind: fc.constantFrom('drop', 'double', 'cut', 'replace'),
      text: fc.string({ unit: 'binary' }),
    });
    fc.assert(
      fc.property(Change, ({ name, line, kind, text }) => {
        const lines = goldenText(name).split('\n');
        const at = line % lines.length;
        const old = lines[at] ?? '';
        const changed = { drop: [], double: [old, old], cut: [old.slice(0, text.length)], replace: [text] }[
          kind
        ];
        lines.splice(at, 1, ...changed);
        try {
          NetShadow.parse(parseCapture(lines.join('\n'), goldenIdentity(name)));
        } catch (error) {
          assert.ok(error instanceof ShadowferryError, String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** Sections, lines and array elements in another order, where the order says nothing. */
function reordered(text: string, order: (length: number) => number[]): string {
  const permute = <T>(items: readonly T[]): T[] =>
    order(items.length).flatMap((at) => {
      const item = items[at];
      return item === undefined ? [] : [item];
    });
  const sections = [...text.matchAll(/@@ (\S+)\n([\s\S]*?)@@\. (\d+)\n/g)].map(
    ([, name = '', body = '', code]) => {
      const lines = body.split('\n').slice(0, -1);
      let moved = lines;
      if (name === 'ip-json') {
        moved = permute(lines).map((line) => JSON.stringify(permute(JSON.parse(line))));
      } else if (name === 'ip-4' || name === 'ip-6') {
        moved = permute(body.split(/\n(?!\s)/).filter((block) => block !== ''));
      } else if (name === 'sysctl' || name === 'sysfs') moved = permute(lines);
      return { name, text: `@@ ${name}\n${moved.map((line) => `${line}\n`).join('')}@@. ${code}\n` };
    },
  );
  const end = sections.filter(({ name }) => name === 'end');
  return [...permute(sections.filter(({ name }) => name !== 'end')), ...end].map((one) => one.text).join('');
}

describe('attributes', () => {
  it('do not depend on the order in which things are printed', () => {
    fc.assert(
      fc.property(fc.constantFrom(...GOLDENS), fc.infiniteStream(fc.nat()), (name, stream) => {
        const shuffle = (length: number) =>
          Array.from({ length }, (_, at) => ({ at, rank: Number(stream.next().value) }))
            .sort((a, b) => a.rank - b.rank)
            .map(({ at }) => at);
        const shadow = (text: string) => parseCapture(text, goldenIdentity(name));
        assert.deepEqual(
          attributesOf(shadow(reordered(goldenText(name), shuffle))),
          attributesOf(shadow(goldenText(name))),
        );
      }),
      { numRuns: 50 },
    );
  });

  it('are all restored when nothing has changed', () => {
    fc.assert(
      fc.property(fc.constantFrom<GoldenName>(...GOLDENS), (name) => {
        const shadow = parseCapture(goldenText(name), goldenIdentity(name));
        const { captured, restored } = summary(verify(shadow, shadow));
        assert.ok(captured > 100);
        assert.equal(restored, captured);
      }),
    );
  });
});
