import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attributesOf } from '../shadow/net/attributes.ts';
import { GOLDENS, goldenShadow } from '../shadow/net/golden.test-data.ts';
import type { ShadowVersion } from '../shadow/store/store.ts';
import { renderChange, renderShadow, renderVersion, sectionsOf } from './shadow-format.ts';
import { renderWatchEvent } from './shadow-lines.ts';

const version: ShadowVersion = {
  vm: 'web1',
  nic: 'net0',
  seq: 7,
  label: '1.0.2.0',
  by: 'watch',
  atMs: Date.UTC(2026, 0, 2, 3, 4, 5),
  lastSeenMs: Date.UTC(2026, 0, 2, 3, 5, 5),
  seen: 3,
  attributes: 200,
  changed: 2,
};

test('every attribute, and what was not understood, is somewhere on the page', () => {
  for (const name of GOLDENS) {
    const shadow = goldenShadow(name);
    const rows = sectionsOf(shadow).flatMap((section) => section.rows);
    for (const { key, value } of attributesOf(shadow)) {
      const found = rows.some(([row, text]) => key.endsWith(row) && text === value);
      assert.ok(found, `${name}: ${key}`);
    }
    for (const { where, text } of shadow.unknown) {
      assert.ok(
        rows.some(([row, shown]) => row === where && shown === text),
        `${name}: ${where}`,
      );
    }
  }
});

test('long lists are counted, and listed when all is asked for', () => {
  const shadow = goldenShadow('e1000e');
  const known = { nic: 'net0', version, shadow, live: true, changes: [] };
  const short = renderShadow('web1', known, false);
  assert.match(short, /^web1, net0: version 7 \(1\.0\.2\.0\), as it is now\n/);
  assert.match(short, /\n {2}sysctls: \d+ \(--all lists them\)/);
  assert.match(short, /driver +e1000e/);
  assert.ok(!short.includes('rp_filter'));
  assert.match(renderShadow('web1', known, true), /rp_filter/);
});

test('what is only known from before is said to be', async () => {
  const { ShadowferryError } = await import('../errors.ts');
  const why = new ShadowferryError('AGENT_SILENT', { command: 'guest-ping', ms: 5 });
  const shadow = goldenShadow('e1000e-bond-away');
  const text = renderShadow('web1', { nic: 'net0', version, shadow, live: false, why, changes: [] }, false);
  assert.match(text, /THE LAST THAT IS KNOWN: the guest agent did not answer/);
  assert.match(text, /no direct device is there/);
});

test('changes tell what came, went and is another, and nothing that a terminal would act on', () => {
  assert.equal(renderChange({ key: 'link.mtu', before: '1500', after: '9000' }), '~ link.mtu  1500 → 9000');
  assert.equal(renderChange({ key: 'qdisc.root', after: 'fq 1:' }), '+ qdisc.root  fq 1:');
  assert.equal(renderChange({ key: 'a\u001b[2J', before: 'x\ny' }), '- a\\u{1b}[2J  x\\u{a}y');
});

test('a version of the history tells its first changes and counts the others', () => {
  const changes = Array.from({ length: 8 }, (_, n) => ({ key: `ring.${n}`, before: '1', after: '2' }));
  const short = renderVersion(version, changes, false).split('\n');
  assert.match(
    short[0] ?? '',
    /^ {3}7 {2}1\.0\.2\.0 +2026-01-02T03:04:05\.000Z {2}by watch, 8 changed, was so for 1 min/,
  );
  assert.equal(short.length, 7);
  assert.match(short[6] ?? '', /and 3 more \(--all\)/);
  assert.equal(renderVersion(version, changes, true).split('\n').length, 9);
});

test('a device that does not show itself is told with what is known of it', () => {
  const last = { nic: 'net0', seq: 7, label: '1.0.2.0' };
  const gone = { type: 'gone', vm: 'web1', nic: 'net0', why: 'no device', last } as const;
  const text = 'net0 DOES NOT SHOW ITSELF: no device; last known: net0 version 7 (1.0.2.0)';
  assert.equal(renderWatchEvent({ ...gone, late: false }), text);
  assert.match(
    renderWatchEvent({ ...gone, late: true }),
    /7 \(1\.0\.2\.0\); something had changed since, which could not/,
  );
});
