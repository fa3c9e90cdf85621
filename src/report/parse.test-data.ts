/** A strict little reader of the HTML and SVG that the report writes, so that tests can ask about its structure. */
import assert from 'node:assert/strict';

export interface Element {
  name: string;
  attributes: Record<string, string>;
  /** Names of the elements around it, outermost first. */
  path: string[];
  /** Decoded text of the element and all below it. */
  text: string;
}

const VOID = new Set(['meta', 'br', 'link', 'img', 'input', 'hr']);
const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };

function decode(text: string): string {
  return text.replace(/&([^;\s]*);?/g, (whole, name: string) => {
    const char = ENTITIES[name];
    assert.ok(char !== undefined && whole.endsWith(';'), `unknown entity ${whole}`);
    return char;
  });
}

/**
 * All elements in order of their start. Fails on unbalanced tags, unquoted or repeated attributes, stray `<`, and
 * repeated ids.
 */
export function parse(source: string): Element[] {
  const elements: Element[] = [];
  const open: Element[] = [];
  const ids = new Set<string>();
  const say = (text: string) => {
    for (const element of open) element.text += text;
  };
  let rest = source.replace(/^<!doctype html>\n/, '');
  while (rest !== '') {
    const textEnd = rest.indexOf('<');
    if (textEnd !== 0) {
      say(decode(textEnd < 0 ? rest : rest.slice(0, textEnd)));
      rest = textEnd < 0 ? '' : rest.slice(textEnd);
      continue;
    }
    const tag = /^<(\/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z-]+(?:="[^"<]*")?)*)\s*(\/?)>/.exec(rest);
    assert.ok(tag, `not a tag: ${rest.slice(0, 80)}`);
    const [whole, closing, name = '', attributeText = '', selfClosing] = tag;
    rest = rest.slice(whole.length);
    if (closing) {
      assert.equal(open.pop()?.name, name, `</${name}> closes another element`);
      continue;
    }
    const attributes: Record<string, string> = {};
    for (const match of attributeText.matchAll(/([a-zA-Z-]+)(?:="([^"]*)")?/g)) {
      const [, key = '', value = ''] = match;
      assert.ok(!(key in attributes), `attribute ${key} twice`);
      attributes[key] = decode(value);
    }
    if (attributes.id !== undefined) {
      assert.ok(!ids.has(attributes.id), `id ${attributes.id} twice`);
      ids.add(attributes.id);
    }
    const element: Element = { name, attributes, path: open.map((outer) => outer.name), text: '' };
    elements.push(element);
    if (selfClosing || VOID.has(name)) continue;
    open.push(element);
    if (name === 'style' || name === 'script') {
      const end = rest.indexOf(`</${name}>`);
      assert.ok(end >= 0, `${name} does not end`);
      say(rest.slice(0, end));
      rest = rest.slice(end);
    }
  }
  assert.deepEqual(
    open.map((element) => element.name),
    [],
    'elements left open',
  );
  return elements;
}
