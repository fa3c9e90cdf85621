import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MAX_EVENT_LINE, parseProgramEvent } from './program.ts';

describe('parseProgramEvent', () => {
  it('takes an event and drops what it does not know', () => {
    assert.deepEqual(parseProgramEvent('{"e":"pong","up":1.5,"n":3,"x":1}'), { e: 'pong', up: 1.5, n: 3 });
  });

  for (const line of [
    '',
    'null',
    '[]',
    '{"e":"pong"}',
    '{"e":"pong","up":-1,"n":3}',
    '{"e":"nonsense","up":1}',
    '{"e":"failed","up":1,"what":"x","err":5}',
    `{"e":"failed","up":1,"what":"x","err":"${'y'.repeat(500)}"}`,
    `{"e":"pong","up":1,"n":3}${' '.repeat(MAX_EVENT_LINE)}`,
  ]) {
    it(`refuses ${line.slice(0, 60)}`, () => assert.equal(parseProgramEvent(line), undefined));
  }

  it('never throws', () => {
    fc.assert(fc.property(fc.string(), (line) => void parseProgramEvent(line)));
    fc.assert(fc.property(fc.json(), (line) => void parseProgramEvent(line)));
  });
});
