import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ShadowferryError } from '../../errors.ts';
import { parseConfig } from './read.ts';
import { EXAMPLE, keysAt } from './reference.ts';

function problemsOf(text: string): string {
  try {
    parseConfig('c.yaml', text);
  } catch (error) {
    assert.ok(error instanceof ShadowferryError, String(error));
    assert.equal(error.code, 'CONFIG_INVALID');
    return error.message;
  }
  return assert.fail('it was taken');
}

test('the least configuration is a name; all else has a value that works', () => {
  const config = parseConfig('c.yaml', 'host: alpha\n');
  assert.equal(config.socket.path, '/run/shadowferry/daemon.sock');
  assert.equal(config.socket.mode, 0o660);
  assert.equal(config.listen, undefined);
  assert.deepEqual(config.ownership, { kind: 'sqlite' });
});

test('the example of the page is valid, and addresses are taken apart', () => {
  const config = parseConfig('c.yaml', EXAMPLE);
  assert.deepEqual(config.listen?.address, { host: '192.0.2.10', port: 7443 });
  assert.equal(config.devices.length, 2);
  const six = parseConfig('c.yaml', 'host: a\npeers: [{name: b, address: "[2001:db8::1]:7443"}]');
  assert.deepEqual(six.peers[0]?.address, { host: '2001:db8::1', port: 7443 });
});

test('an unknown key is refused with its place, a caret, and the key that was meant', () => {
  const text = 'host: alpha\nsocket:\n  pth: /run/x\n';
  assert.equal(
    problemsOf(text),
    [
      'c.yaml is not a usable configuration: ',
      'c.yaml:3:3: unknown key "pth"; did you mean "path"? (known here: group, mode, path)',
      '    3 |   pth: /run/x',
      '          ^^^',
    ].join('\n'),
  );
});

const BAD: readonly [what: string, yaml: string, says: RegExp][] = [
  [
    'a name with what a shell would act on',
    'host: "a; rm -rf /"',
    /c\.yaml:1:7: host is not right: lower-case/,
  ],
  ['a missing name', 'state: /x', /:1:1: host is missing; it is a string/],
  ['an empty file', '', /:1:1: host is missing/],
  ['a list for a mapping', '- host', /:1:1: the configuration must be a object/],
  [
    'a socket that everybody may use',
    'host: a\nsocket: { mode: "0666" }',
    /:2:17: socket\.mode .*nothing for others/,
  ],
  ['a relative path', 'host: a\nstate: var', /:2:8: state .*absolute path/],
  ['a way up', 'host: a\nstate: /var/../etc', /:2:8: state .*without "\.\."/],
  ['a long socket path', `host: a\nsocket: { path: /${'x'.repeat(100)} }`, /at most 90 bytes/],
  [
    'a port that is none',
    'host: a\npeers:\n  - { name: b, address: "b:99999" }',
    /:3:25: peers\.0\.address .*HOST:PORT/,
  ],
  [
    'a device on no network',
    'host: a\ndevices:\n  - { id: n, network: lan, model: e1000 }',
    /:3:23: devices\.0\.network .*there is none/,
  ],
  [
    'a device of both kinds',
    'host: a\nnetworks: {lan: {bridge: b}}\ndevices:\n  - { id: n, network: lan, model: e1000, address: "0000:03:00.0" }',
    /:4:\d+: unknown key/,
  ],
  [
    'two devices of one id',
    'host: a\nnetworks: {lan: {bridge: b}}\ndevices:\n  - { id: n, network: lan, model: e1000 }\n  - { id: n, network: lan, model: e1000 }',
    /:5:11: devices\.1\.id .*another device/,
  ],
  ['a key that stands twice', 'host: a\nhost: b', /:2:1: .*unique/i],
  ['what is no YAML', 'host: [a', /:1:\d+: /],
  ['a tab', 'host: a\nsocket:\n\tmode: "0600"', /:3:\d+: /],
  ['an unknown store', 'host: a\nownership: { kind: redis }', /:2:20: ownership\.kind/],
  [
    'a password without TLS',
    'host: a\nownership:\n  kind: etcd\n  endpoints: ["http://192.0.2.1:2379"]\n  auth: { user: u, passwordFile: /p }',
    /:5:\d+: ownership\.auth .*https only/,
  ],
  [
    'an endpoint that is no URL',
    'host: a\nownership: { kind: etcd, endpoints: ["192.0.2.1"] }',
    /:2:\d+: ownership\.endpoints\.0 .*http/,
  ],
  [
    'an unknown key of a store',
    'host: a\nownership: { kind: etcd, endpoints: ["https://192.0.2.1:2379"], prefx: /x }',
    /:2:\d+: .*prefx.*prefix/,
  ],
  ['the host as its own peer', 'host: a\npeers: [{ name: a, address: "a:1" }]', /this is the host itself/],
  [
    'a limit of nothing',
    'host: a\nlimits: { connections: 0 }',
    /:2:24: limits\.connections must be at least 1/,
  ],
  [
    'a name of a network that is none',
    'host: a\nnetworks: { "a b": { bridge: br0 } }',
    /:2:13: the name "a b"/,
  ],
];

for (const [what, yaml, says] of BAD)
  test(`refused with its place: ${what}`, () => assert.match(problemsOf(yaml), says));

test('every problem is told at once, in the order of the file', () => {
  const places = [...problemsOf('hst: a\nstate: x\nlimits: {streams: 0}').matchAll(/c\.yaml:(\d+):/g)];
  assert.deepEqual(
    places.map(([, line]) => line),
    ['1', '1', '2', '3'],
  );
});

test('aliases cannot make much of little', () => {
  const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
  for (let n = 1; n < 9; n++)
    bomb.push(
      `a${n}: &a${n} [${Array(9)
        .fill(`*a${n === 1 ? '' : n - 1}`)
        .join(', ')}]`,
    );
  problemsOf(bomb.join('\n'));
});

test('whatever the text is, it is taken or refused with a place in it', () => {
  const word = fc.constantFrom(
    'host',
    'socket',
    ':',
    ' ',
    '\n',
    '  ',
    '- ',
    '{',
    '}',
    '[',
    '"',
    '&a',
    '*a',
    '!!x',
    '|',
    '#',
    'a',
    '0',
    '\t',
    '\u0000',
    '…',
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 30 }), (words) => {
      const text = words.join('');
      try {
        parseConfig('c.yaml', text);
      } catch (error) {
        assert.ok(error instanceof ShadowferryError && error.code === 'CONFIG_INVALID', String(error));
        assert.match(error.message, /c\.yaml:\d+:\d+: /);
      }
    }),
    { numRuns: 500 },
  );
});

test('the known keys of a place are those of the schema', () => {
  assert.deepEqual(keysAt(['socket']), ['group', 'mode', 'path']);
  assert.deepEqual(keysAt(['devices', 0]), ['address', 'id', 'model', 'network']);
  assert.deepEqual(keysAt(['networks', 'lan']), ['bridge']);
  assert.ok(keysAt([]).includes('listen'));
});
