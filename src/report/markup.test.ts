import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { escapeText, jsonAttribute, markup, trusted, visible } from './markup.ts';
import { parse } from './parse.test-data.ts';

test('values are escaped in text and in attributes, markup is not', () => {
  const hostile = `"><script>alert('1')</script>&amp;`;
  const made = markup`<p title="${hostile}">${hostile}${markup`<b>${hostile}</b>`}</p>`.toString();
  const elements = parse(made);
  assert.deepEqual(
    elements.map((element) => element.name),
    ['p', 'b'],
  );
  assert.equal(elements[0]?.attributes.title, hostile);
  assert.equal(elements[1]?.text, hostile);
});

test('an object that looks like markup is not trusted', () => {
  const forged: unknown = { toString: () => '<b>' };
  assert.throws(() => markup`${forged as string}`, TypeError);
});

test('invisible and reordering characters are spelled out', () => {
  assert.equal(visible('a\u202eb'), 'a‹U+202E›b');
  assert.equal(visible('a\u0000b\u001b[31m'), 'a‹U+0000›b‹U+001B›[31m');
  assert.equal(visible('\u200b\u2028\ufeff\u{e0041}'), '‹U+200B›‹U+2028›‹U+FEFF›‹U+E0041›');
  assert.equal(visible('tab\tand\nline, äöü 日本 🚢'), 'tab\tand\nline, äöü 日本 🚢');
});

test('lone surrogates, stacked marks and endless text are made bounded', () => {
  assert.equal(visible('a\ud800b'), 'a\ufffdb');
  assert.equal(visible(`e${'\u0301'.repeat(500)}`), `e${'\u0301'.repeat(4)}…`);
  const long = visible('x'.repeat(10_000));
  assert.ok(long.length < 2100);
  assert.match(long, /8000 more characters/);
});

test('numbers keep two decimals and a number that is none is refused', () => {
  assert.equal(markup`${1 / 3} ${-2} ${[1, 2]}`.toString(), '0.33 -2 12');
  assert.throws(() => markup`${Number.NaN}`, RangeError);
});

test('absent parts leave nothing', () => {
  assert.equal(markup`a${null}${undefined}${false}b`.toString(), 'ab');
});

test('json in an attribute comes back whole, whatever its length', () => {
  const value = [[1, `<"'&>${'y'.repeat(9000)}`]];
  const [element] = parse(markup`<p data-x="${jsonAttribute(value)}"></p>`.toString());
  assert.deepEqual(JSON.parse(element?.attributes['data-x'] ?? ''), value);
});

test('trusted text passes unchanged', () => {
  assert.equal(markup`<style>${trusted('a>b{}')}</style>`.toString(), '<style>a>b{}</style>');
});

test('no text becomes markup or a character that XML forbids', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      const escaped = escapeText(text);
      assert.doesNotMatch(escaped, /[<>"']/);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML forbids
      assert.doesNotMatch(escaped, /[\u0000-\u0008\u000b-\u001f\ufffe\uffff]/);
      assert.ok(escaped.isWellFormed());
    }),
  );
});
