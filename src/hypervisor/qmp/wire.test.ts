import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { cut } from './fake-socket.ts';
import { encodeCommand, LineDecoder, parseMessage } from './wire.ts';

function decodeAll(chunks: readonly Buffer[]): string[] {
  const decoder = new LineDecoder();
  return chunks.flatMap((chunk) => decoder.push(chunk)).map((line) => line.toString('utf8'));
}

describe('LineDecoder', () => {
  it('gives the same messages however the bytes are chunked and whichever line end is used', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.json(), fc.constantFrom('\n', '\r\n'))),
        fc.array(fc.nat()),
        (messages, places) => {
          const bytes = Buffer.from(messages.map(([json, end]) => json + end).join(''));
          assert.deepEqual(
            decodeAll(cut(bytes, places)),
            messages.map(([json]) => json),
          );
        },
      ),
    );
  });

  it('keeps a character whole that is cut in the middle', () => {
    const bytes = Buffer.from('{"name":"Überfähre ⛴"}\n');
    assert.deepEqual(decodeAll(Array.from(bytes, (byte) => Buffer.from([byte]))), ['{"name":"Überfähre ⛴"}']);
  });

  it('keeps an unfinished line back until it is finished or forgotten', () => {
    const decoder = new LineDecoder();
    assert.deepEqual(decoder.push(Buffer.from('{"a"')), []);
    assert.deepEqual(decoder.push(Buffer.from(':1}\n')).map(String), ['{"a":1}']);
    decoder.push(Buffer.from('half'));
    decoder.reset();
    assert.deepEqual(decoder.push(Buffer.from('{}\n')).map(String), ['{}']);
  });

  it('refuses a line over the limit instead of collecting it', () => {
    const decoder = new LineDecoder(10);
    decoder.push(Buffer.from('12345\n67890'));
    assert.throws(() => decoder.push(Buffer.from('123456')), RangeError);
  });

  it('reads a line of many megabytes in small chunks in linear time', () => {
    const decoder = new LineDecoder();
    const chunk = Buffer.alloc(4096, 0x61);
    for (let sent = 0; sent < 32 * 1024 * 1024; sent += chunk.length) decoder.push(chunk);
    const [line] = decoder.push(Buffer.from('\n'));
    assert.equal(line?.length, 32 * 1024 * 1024);
  });
});

describe('parseMessage', () => {
  const parse = (value: unknown) => parseMessage(Buffer.from(JSON.stringify(value)));

  it('reads the greeting', () => {
    const version = { qemu: { micro: 22, minor: 2, major: 7 }, package: 'Debian 1:7.2' };
    assert.deepEqual(parse({ QMP: { version, capabilities: ['oob'] } }), {
      kind: 'greeting',
      version: { major: 7, minor: 2, micro: 22, package: 'Debian 1:7.2' },
    });
  });

  it('reads an event with QEMU’s time in milliseconds', () => {
    const timestamp = { seconds: 1700000000, microseconds: 123456 };
    assert.deepEqual(parse({ timestamp, event: 'STOP' }), {
      kind: 'event',
      name: 'STOP',
      data: {},
      qemuTimeMs: 1700000000123.456,
    });
  });

  it('knows no time when QEMU could not read its clock', () => {
    const message = parse({ timestamp: { seconds: -1, microseconds: -1 }, event: 'STOP', data: { a: 1 } });
    assert.deepEqual(message, { kind: 'event', name: 'STOP', data: { a: 1 }, qemuTimeMs: undefined });
  });

  it('reads returns and errors, with and without an id', () => {
    assert.deepEqual(parse({ return: [1], id: 'x' }), { kind: 'return', id: 'x', value: [1] });
    assert.deepEqual(parse({ return: {} }), { kind: 'return', id: undefined, value: {} });
    assert.deepEqual(parse({ id: 7, error: { class: 'GenericError', desc: 'no' } }), {
      kind: 'error',
      id: 7,
      class: 'GenericError',
      description: 'no',
    });
  });

  for (const bad of ['null', '[]', '7', '{}', '{"event":5}', '{"error":"x"}', '{"QMP":{}}', '{', 'ÿ']) {
    it(`refuses ${bad}, and says what it saw`, () => {
      assert.throws(
        () => parseMessage(Buffer.from(bad)),
        (error: Error) =>
          /^not (JSON|a QMP message): /.test(error.message) && error.message.includes(bad[0] ?? ''),
      );
    });
  }

  it('either reads or refuses any bytes at all', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        try {
          assert.ok(parseMessage(Buffer.from(bytes)).kind);
        } catch (error) {
          assert.match(String(error), /not (JSON|a QMP message)/);
        }
      }),
    );
  });
});

describe('encodeCommand', () => {
  it('gives one line of JSON whatever the arguments hold', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (args) => {
        const line = encodeCommand('x', args, 'id');
        assert.equal(line.indexOf('\n'), line.length - 1);
        assert.deepEqual(
          JSON.parse(line),
          JSON.parse(JSON.stringify({ execute: 'x', arguments: args, id: 'id' })),
        );
      }),
    );
  });

  it('leaves out arguments that are not given', () => {
    assert.equal(encodeCommand('stop', undefined, '1'), '{"execute":"stop","id":"1"}\n');
  });
});
