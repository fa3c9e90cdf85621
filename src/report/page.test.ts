import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { FIXTURE, FIXTURE_DEGRADED, FIXTURE_FAILED, FIXTURE_LONG } from './fixture.test-data.ts';
import { MigrationReport } from './model.ts';
import { renderReport } from './page.ts';
import { type Element, parse } from './parse.test-data.ts';

const ALL = { FIXTURE, FIXTURE_LONG, FIXTURE_FAILED, FIXTURE_DEGRADED };

const named = (elements: Element[], name: string) => elements.filter((element) => element.name === name);
const withClass = (elements: Element[], name: string) =>
  elements.filter((element) => element.attributes.class?.split(' ').includes(name));
const only = (elements: Element[]): Element => {
  assert.equal(elements.length, 1);
  return elements[0] ?? assert.fail();
};
/** The section with that heading, as its text. */
function sectionText(page: string, heading: string): string {
  const found = named(parse(page), 'section').find((section) => section.text.trim().startsWith(heading));
  return found?.text ?? assert.fail(`no section "${heading}"`);
}

/** The report with every string replaced, whatever its depth. */
function poisoned(report: MigrationReport, poison: string): MigrationReport {
  const enums = new Set(['phase', 'continuity']);
  const spoil = (value: unknown, key = '', inPhases = false): unknown => {
    if (typeof value === 'string') {
      return enums.has(key) || (inPhases && key === 'name') ? value : `${poison}${value}`;
    }
    if (Array.isArray(value)) return value.map((item) => spoil(item, key, key === 'phases'));
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(
        Object.entries(value).map(([name, item]) => [name, spoil(item, name, inPhases)]),
      );
    }
    return value;
  };
  return MigrationReport.parse(spoil(report));
}

test('the fixtures are what the model says', () => {
  for (const [name, report] of Object.entries(ALL)) {
    assert.deepEqual(MigrationReport.parse(structuredClone(report)), report, name);
  }
});

test('the title says what happened in one sentence', () => {
  const elements = parse(renderReport(FIXTURE));
  const sentence =
    'web1 moved from a (e1000e) to b (vmxnet3) in 1.9 s; connections 5 of 5 alive; outage 96 ms, blackout 12 ms';
  assert.equal(only(named(elements, 'h1')).text, sentence);
  assert.equal(elements.find((element) => element.name === 'title')?.text, sentence);
});

test('a failed migration says so, with its error, and nothing beyond it', () => {
  const page = renderReport(FIXTURE_FAILED);
  const elements = parse(page);
  assert.match(only(named(elements, 'h1')).text, /failed in copy after 1\.2 s;.* no blackout/);
  assert.equal(only(withClass(elements, 'verdict')).text, 'Failed');
  assert.match(only(withClass(elements, 'notice')).text, /^MIGRATION_FAILED: .*The VM runs on the source/);
  assert.match(page, /not measured/);
  assert.doesNotMatch(sectionText(page, 'Where the time went'), /switchover|settle/);
  assert.doesNotMatch(sectionText(page, 'What became of the shadow'), /Nothing lost/);
});

test('a degraded migration says why', () => {
  const elements = parse(renderReport(FIXTURE_DEGRADED));
  assert.match(only(named(elements, 'h1')).text, /but runs without its direct device/);
  assert.match(only(withClass(elements, 'notice')).text, /did not appear in the guest/);
});

test('a migration that failed at once and measured nothing still gives a page', () => {
  const bare: MigrationReport = {
    ...FIXTURE_FAILED,
    totalMs: 0,
    memoryBytes: 0,
    outageMs: { tcp: null, icmp: null },
    connections: { opened: 0, survived: 0, outOfOrder: 0, corrupt: 0 },
    phases: [],
    steps: [],
    marks: [],
    gaps: { tcp: [], icmp: [] },
    throughput: [],
    progress: [],
    shadow: { captured: 0, restored: [], adapted: [], lost: [] },
    warnings: [],
    decisions: [],
  };
  const page = renderReport(bare);
  const text = only(named(parse(page), 'main')).text;
  for (const phrase of ['no traffic was measured', 'No steps', 'Too few progress samples', 'Nothing lost.']) {
    assert.ok(text.includes(phrase), phrase);
  }
  parse(
    renderReport({
      ...bare,
      throughput: FIXTURE.throughput.slice(0, 1),
      progress: FIXTURE.progress.slice(0, 1),
    }),
  );
});

test('every attribute of the shadow is on the page: lost and adapted open, restored folded by group', () => {
  const elements = parse(renderReport(FIXTURE));
  const cells = named(elements, 'td');
  for (const { key, why } of FIXTURE.shadow.lost) {
    assert.ok(cells.some((cell) => cell.text === key && !cell.path.includes('details')));
    assert.ok(cells.some((cell) => cell.text === why));
  }
  for (const { key, now, how } of FIXTURE.shadow.adapted) {
    assert.ok(cells.some((cell) => cell.text === key && !cell.path.includes('details')));
    assert.ok(cells.some((cell) => cell.text === now) && cells.some((cell) => cell.text === how));
  }
  for (const { key, value } of FIXTURE.shadow.restored) {
    assert.ok(
      cells.some((cell) => cell.text === key && cell.path.includes('details')),
      key,
    );
    assert.ok(cells.some((cell) => cell.text === value));
  }
  const groups = named(elements, 'summary').map((summary) => summary.text);
  assert.ok(groups.includes('sysctl 3') && groups.includes('feature 4'));
});

const nicOutcome = (nic: string, driver: string | null) => ({
  nic,
  network: 'dmz',
  from: { device: 'nic0', model: 'e1000e', driver: 'e1000e' },
  to: { device: 'nic1', model: 'vmxnet3', driver },
  continuity: 'hold' as const,
  ...{ captured: 40, restored: 38, adapted: 1, lost: 1 },
});

test('of several NICs each has its row, and what is lost names its NIC', () => {
  const { shadow } = FIXTURE;
  const [lost] = shadow.lost;
  assert.ok(lost);
  const page = renderReport({
    ...FIXTURE,
    nics: [nicOutcome('net0', 'vmxnet3'), { ...nicOutcome('net1', null), error: 'no link <in> time' }],
    shadow: { ...shadow, lost: [{ nic: 'net1', ...lost }] },
  });
  const text = sectionText(page, 'Devices');
  assert.match(text, /net0.*nic1: vmxnet3 \(driver vmxnet3\).*38 of 40/s);
  assert.match(text, /net1.*not there: no link <in> time/s);
  assert.match(
    sectionText(page, 'What became of the shadow'),
    new RegExp(`net1 ${lost.key.replaceAll('.', '\\.')}`),
  );
  assert.ok(!named(parse(renderReport(FIXTURE)), 'h2').some(({ text: heading }) => heading === 'Devices'));
});

test('no loss is said in words, and attributes without an outcome are', () => {
  const { shadow } = FIXTURE;
  const none = { ...FIXTURE, shadow: { ...shadow, captured: 26, lost: [] } };
  assert.match(sectionText(renderReport(none), 'What became of the shadow'), /Nothing lost\./);
  const silent = sectionText(
    renderReport({ ...none, shadow: { ...none.shadow, captured: 30 } }),
    'What became of the shadow',
  );
  const page = parse(renderReport({ ...none, shadow: { ...none.shadow, captured: 30 } }));
  assert.ok(withClass(page, 'tile').some((tile) => tile.text === 'Lost0 4 without an outcome'));
  assert.match(silent, /4 captured attributes have no outcome/);
  assert.doesNotMatch(silent, /Nothing lost/);
});

test('steps are listed in order with the critical ones named so, and what they leave out is counted', () => {
  const page = renderReport(FIXTURE);
  const critical = FIXTURE.steps.filter((step) => step.critical).length;
  assert.equal(withClass(parse(page), 'tag').length, critical);
  const text = sectionText(page, 'Where the time went');
  assert.match(text, /1\.190 s\. Critical steps run in 1\.149 s of them; 2 ms belong to no step/);
  assert.ok(text.indexOf('ask both hosts') < text.indexOf('device_del'));
});

test('broken connections and spoiled records are not called alive', () => {
  const connections = { opened: 5, survived: 4, outOfOrder: 2, corrupt: 1 };
  const tile = withClass(parse(renderReport({ ...FIXTURE, connections })), 'tile').find((element) =>
    element.text.startsWith('Connections'),
  );
  assert.match(tile?.text ?? '', /4 of 5.*1 broken, 2 records out of order, 1 records corrupt/);
});

test('a small critical part gets a picture and a table of its own', () => {
  const count = (report: MigrationReport, name: string) => named(parse(renderReport(report)), name).length;
  assert.equal(count(FIXTURE_LONG, 'figure'), count(FIXTURE, 'figure') + 1);
  assert.equal(withClass(parse(renderReport(FIXTURE_LONG)), 'sf-outline').length, 3);
});

test('hostile strings stay text everywhere', () => {
  const structure = (page: string) => parse(page).map((element) => element.name);
  for (const poison of [
    `"><img src=x onerror=alert(1)><script>alert(1)</script>`,
    `</style></script></svg></title><!--`,
    `' onload='alert(1)' x="javascript:alert(1)`,
    `]]>&lt;&#x202e;\u202e\u0000`,
  ]) {
    for (const [name, report] of Object.entries(ALL)) {
      const clean = structure(renderReport(poisoned(report, 'plain ')));
      const page = renderReport(poisoned(report, poison));
      const elements = parse(page);
      // Long labels may be drawn as numbers, so pictures may differ; what the page is made of may not.
      const known = new Set(clean);
      for (const element of elements) {
        assert.ok(known.has(element.name), `${name}: <${element.name}>`);
        for (const key of Object.keys(element.attributes)) {
          assert.doesNotMatch(key, /^(on|src$|style$|xlink)/, `${name}: ${key}`);
        }
      }
      assert.equal(named(elements, 'script').length, 1);
      for (const char of ['\u202e', '\u0000']) assert.ok(!page.includes(char));
    }
  }
});

test('the page loads nothing and its policy allows only its own style and script', () => {
  const elements = parse(renderReport(FIXTURE_LONG));
  const policy = elements.find((element) => element.attributes['http-equiv'] === 'Content-Security-Policy')
    ?.attributes.content;
  assert.match(policy ?? '', /^default-src 'none'; /);
  for (const name of ['style', 'script']) {
    const hash = createHash('sha256')
      .update(only(named(elements, name)).text)
      .digest('base64');
    assert.ok(policy?.includes(`${name}-src 'sha256-${hash}'`), name);
  }
  for (const { name, attributes } of elements) {
    assert.ok(!['link', 'img', 'iframe', 'object', 'image', 'use'].includes(name), name);
    assert.ok(!('src' in attributes || 'style' in attributes), name);
    assert.ok(attributes.href === undefined || attributes.href === '#warnings', attributes.href);
  }
});

test('headings, tables and pictures can be used without sight', () => {
  for (const report of Object.values(ALL)) {
    const elements = parse(renderReport(report));
    const ids = new Set(elements.map((element) => element.attributes.id));
    for (const table of named(elements, 'table')) assert.equal(table.attributes.role, 'table');
    const levels = elements.flatMap((element) => /^h([1-6])$/.exec(element.name)?.[1] ?? []).map(Number);
    for (const [i, level] of levels.entries())
      assert.ok(level <= (levels[i - 1] ?? 0) + 1, 'a level is skipped');
    for (const svg of named(elements, 'svg')) {
      if (svg.attributes['aria-hidden'] === 'true') continue;
      assert.equal(svg.attributes.role, 'img');
      for (const id of svg.attributes['aria-labelledby']?.split(' ') ?? ['none']) assert.ok(ids.has(id), id);
    }
  }
});

test('the same report gives the same page', () => {
  assert.equal(renderReport(FIXTURE), renderReport(structuredClone(FIXTURE)));
});
