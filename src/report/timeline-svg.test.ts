import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FIXTURE, FIXTURE_DEGRADED, FIXTURE_FAILED, FIXTURE_LONG } from './fixture.test-data.ts';
import type { MigrationReport } from './model.ts';
import { DARK, LIGHT, type Palette } from './palette.ts';
import { type Element, parse } from './parse.test-data.ts';
import { fitText, textWidth, wrapText } from './text.ts';
import { spanX } from './timeline-lanes.ts';
import { layoutTimeline } from './timeline-layout.ts';
import { renderTimelineSvg } from './timeline-svg.ts';

const size = { width: 900, height: 420, theme: 'light' } as const;
const texts = (elements: Element[]) =>
  elements.filter((element) => element.name === 'text').map((element) => element.text);

/** Boxes of the texts that overlap, by the widths that the layout reckons with. */
function overlaps(elements: Element[]): string[] {
  const boxes = elements
    .filter((element) => element.name === 'text')
    .map(({ attributes, text }) => {
      const fontSize = Number(attributes['font-size']);
      const width = textWidth(text, fontSize);
      const x = Number(attributes.x);
      const anchor = attributes['text-anchor'];
      const left = anchor === 'end' ? x - width : anchor === 'middle' ? x - width / 2 : x;
      const baseline = Number(attributes.y);
      return { text, left, right: left + width, top: baseline - fontSize * 0.75, bottom: baseline };
    });
  return boxes.flatMap((a, i) =>
    boxes
      .slice(i + 1)
      .filter((b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
      .map((b) => `"${a.text}" over "${b.text}"`),
  );
}

test('the picture names phases, marks, outage and blackout', () => {
  const shown = texts(parse(renderTimelineSvg(FIXTURE, size)));
  for (const phase of FIXTURE.phases)
    assert.ok(
      shown.some((text) => text.startsWith(phase.name)),
      phase.name,
    );
  for (const mark of FIXTURE.marks) assert.ok(shown.includes(mark.name), mark.name);
  assert.ok(shown.some((text) => text.startsWith('96 ms')));
  assert.ok(shown.includes('108 ms, longest of 3'));
  assert.ok(shown.includes('blackout 12 ms'));
});

test('no text lies over another, at any width, in any outcome', () => {
  for (const report of [FIXTURE, FIXTURE_LONG, FIXTURE_FAILED, FIXTURE_DEGRADED]) {
    for (const width of [320, 380, 560, 700, 900, 1040, 1400]) {
      const elements = parse(renderTimelineSvg(report, { ...size, width }));
      assert.deepEqual(overlaps(elements), [], `width ${width}`);
    }
  }
});

test('a narrow picture numbers its marks and names them below', () => {
  const shown = texts(parse(renderTimelineSvg(FIXTURE, { ...size, width: 360 })));
  assert.ok(shown.includes('1') && shown.includes('10'));
  assert.ok(shown.includes('2 DEVICE_DELETED 902 ms'));
});

test('phases lose their durations before their names, and a key names what has no label', () => {
  const roomy = texts(parse(renderTimelineSvg(FIXTURE, size)));
  assert.ok(roomy.includes('switchover 52 ms'));
  const tighter = texts(parse(renderTimelineSvg(FIXTURE, { ...size, width: 600 })));
  for (const { name } of FIXTURE.phases) assert.ok(tighter.includes(name), name);
  const narrow = texts(parse(renderTimelineSvg(FIXTURE, { ...size, width: 340 })));
  assert.ok(!narrow.includes('switchover') && narrow.includes('switchover 52 ms'));
});

test('a span at the edge of the plot stays inside it, one outside of it is not drawn', () => {
  const layout = layoutTimeline(FIXTURE, 900, { startMs: 0, endMs: 1000 });
  const at = spanX(layout, { startMs: 1000, endMs: 1200 });
  assert.deepEqual(at, { from: layout.right - 1.5, to: layout.right });
  assert.equal(spanX(layout, { startMs: 1001, endMs: 1200 }), undefined);
  assert.equal(spanX(layout, { startMs: -50, endMs: -1 }), undefined);
});

test('a long migration is shown around its detach, unless a window is asked for', () => {
  const focused = texts(parse(renderTimelineSvg(FIXTURE_LONG, size)));
  assert.ok(focused.includes('device claimed'));
  assert.ok(!focused.includes('0 s'));
  const whole = texts(
    parse(renderTimelineSvg(FIXTURE_LONG, { ...size, window: { startMs: 0, endMs: 60_000 } })),
  );
  assert.ok(whole.includes('0 s'));
});

test('without samples, with one and with zeros there is still a picture', () => {
  const lone = FIXTURE.throughput.slice(0, 1);
  const zeros = FIXTURE.throughput.map(({ atMs }) => ({ atMs, bytesIn: 0, bytesOut: 0, echoes: 0 }));
  for (const throughput of [[], lone]) {
    assert.ok(
      texts(parse(renderTimelineSvg({ ...FIXTURE, throughput }, size))).includes('no traffic was measured'),
    );
  }
  const elements = parse(renderTimelineSvg({ ...FIXTURE, throughput: zeros }, size));
  const line = elements.find(
    (element) => element.attributes.class === 'sf-in' && element.path.at(-1) === 'g',
  );
  assert.match(line?.attributes.d ?? '', /^M[\d.]+,[\d.]+L/);
});

test('a series of any length is drawn with few points and no cut path', () => {
  const throughput = Array.from({ length: 50_000 }, (_, i) => ({
    atMs: i / 20,
    bytesIn: (i * 7919) % 5000,
    bytesOut: 100,
    echoes: 1,
  }));
  const svg = renderTimelineSvg({ ...FIXTURE, throughput }, size);
  parse(svg);
  assert.ok(svg.length < 80_000, String(svg.length));
  assert.doesNotMatch(svg, /more characters/);
});

test('blackout without a known moment is said, not drawn', () => {
  const { blackoutStartMs: _, ...report } = { ...FIXTURE, marks: [] };
  const elements = parse(renderTimelineSvg(report, size));
  assert.ok(texts(elements).includes('12 ms, moment not recorded'));
  assert.ok(!elements.some((element) => element.attributes.class === 'sf-blackout'));
});

test('the file is well-formed, refers to nothing outside and follows the theme', () => {
  const auto = renderTimelineSvg(FIXTURE, { ...size, theme: 'auto' });
  for (const svg of [
    auto,
    renderTimelineSvg(FIXTURE, size),
    renderTimelineSvg(FIXTURE, { ...size, theme: 'dark' }),
  ]) {
    const [root] = parse(svg);
    assert.equal(root?.attributes.xmlns, 'http://www.w3.org/2000/svg');
    assert.doesNotMatch(
      svg.replace('http://www.w3.org/2000/svg', ''),
      /https?:|<script|@import|data-readouts/,
    );
    assert.match(svg, /fill:#[0-9a-f]{6}/);
    assert.doesNotMatch(svg, /var\(/);
  }
  assert.match(auto, /prefers-color-scheme:dark/);
  assert.ok(renderTimelineSvg(FIXTURE, { ...size, theme: 'dark' }).includes(DARK.surface));
});

test('any times within the model give finite geometry inside the picture', () => {
  const moment = fc.double({ min: -1e9, max: 1e9, noNaN: true });
  const ms = fc.double({ min: 0, max: 1e9, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(fc.record({ startMs: moment, ms }), { maxLength: 6 }),
      fc.array(fc.record({ atMs: moment, name: fc.string({ unit: 'grapheme', maxLength: 30 }) }), {
        maxLength: 12,
      }),
      fc.array(fc.record({ startMs: moment, durationMs: ms }), { maxLength: 8 }),
      ms,
      fc.integer({ min: 200, max: 1600 }),
      (tcp, marks, spans, totalMs, width) => {
        const report: MigrationReport = {
          ...FIXTURE,
          totalMs,
          marks,
          phases: FIXTURE.phases.slice(0, spans.length).map((phase, i) => ({ ...phase, ...spans[i] })),
          gaps: { tcp, icmp: [] },
        };
        const svg = renderTimelineSvg(report, { ...size, width });
        for (const { name, attributes } of parse(svg)) {
          if (name !== 'rect') continue;
          const x = Number(attributes.x);
          const right = x + Number(attributes.width);
          assert.ok(x >= -0.1 && right <= width + 0.1, `rect from ${x} to ${right} in ${width}`);
        }
        assert.doesNotMatch(svg, /NaN|Infinity|e[+-]\d/);
      },
    ),
    { numRuns: 150 },
  );
});

/** Contrast of two colours by WCAG 2. */
function contrast(a: string, b: string): number {
  const light = (colour: string) => {
    const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
      const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [high = 0, low = 0] = [light(a), light(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

test('every colour of text has a contrast of 4.5 on page and surface, phases 2 and more', () => {
  const check = (name: string, palette: Palette) => {
    for (const ground of [palette.page, palette.surface]) {
      for (const colour of ['ink', 'muted', 'outage', 'good', 'warn', 'accent'] as const) {
        const value = contrast(palette[colour], ground);
        assert.ok(value >= 4.5, `${name} ${colour} on ${ground}: ${value.toFixed(2)}`);
      }
      for (const [phase, colour] of Object.entries(palette.phases)) {
        assert.ok(contrast(colour, ground) >= 2, `${name} ${phase}`);
      }
    }
  };
  check('light', LIGHT);
  check('dark', DARK);
});

test('texts are shortened and wrapped within their width', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 80 }), fc.integer({ min: 30, max: 400 }), (text, width) => {
      assert.ok(textWidth(fitText(text, 11, width), 11) <= width);
      const lines = wrapText(text, 11, width, 3);
      assert.ok(lines.length <= 3);
      for (const line of lines) assert.ok(textWidth(line, 11) <= width);
    }),
  );
  assert.deepEqual(wrapText('one two three', 10, 60, 3), ['one two', 'three']);
  assert.equal(fitText('short', 11, 200), 'short');
});
