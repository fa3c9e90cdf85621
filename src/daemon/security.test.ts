/** What somebody may try who has no right to: each is refused with a code, and nothing is changed. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { ShadowferryError } from '../errors.ts';
import { createToken, revokeToken } from './auth/tokens.ts';
import { DaemonConfig } from './config/model.ts';
import {
  problemIn,
  type SendOptions,
  scratch,
  send,
  type TestDaemon,
  talk,
  testDaemon,
} from './fixture.test-data.ts';
import { issue, makeCa } from './pki/certificate.ts';
import { initCa, issueIn, revokeIn } from './pki/directory.ts';

const DAY_MS = 86_400_000;
const code = (wanted: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === wanted;

/** A port that is free now. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
      server.close(() => resolve(port));
    });
  });
}

const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' } as const;
const EXAMINE = '/v1/hosts/alpha/examinations';

describe('over TLS', () => {
  let strict: TestDaemon;
  let lenient: TestDaemon;
  let pki: string;
  const closing: (() => void | Promise<void>)[] = [];
  const t = { after: (act: () => void | Promise<void>) => closing.push(act) };
  const pem = (name: string) => readFileSync(join(pki, name), 'utf8');
  const pair = (name: string) => ({ cert: pem(`${name}.crt`), key: pem(`${name}.key`) });

  function over(daemon: TestDaemon, certificate: { cert?: string; key?: string } = {}): SendOptions {
    return { tls: { port: daemon.daemon.port ?? 0, ca: pem('ca.crt'), ...certificate } };
  }

  before(async () => {
    const directory = scratch(t);
    pki = join(directory, 'pki');
    await initCa(pki, 'Test CA', 30);
    await issueIn(pki, { kind: 'host', name: 'alpha' }, ['alpha', '127.0.0.1'], 10);
    for (const role of ['viewer', 'operator', 'admin'] as const)
      await issueIn(pki, { kind: 'client', name: role, role }, [], 10);
    await issueIn(pki, { kind: 'client', name: 'gone', role: 'admin' }, [], 10);
    const listen = async (authentication: string) => ({
      listen: {
        address: `127.0.0.1:${await freePort()}`,
        ...{
          certificate: join(pki, 'alpha.crt'),
          key: join(pki, 'alpha.key'),
          clientCa: join(pki, 'ca.crt'),
        },
        ...{ revoked: join(pki, 'revoked.json'), authentication },
      },
    });
    strict = await testDaemon(t, await listen('certificate'));
    lenient = await testDaemon(t, await listen('certificate-or-token'));
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const ask = (daemon: TestDaemon, path: string, how: SendOptions) => send(daemon.socket, path, how);

  test('a certificate of the CA is who it says, with its role', async () => {
    const look = await ask(strict, '/v1/version', over(strict, pair('viewer')));
    assert.equal(look.status, 200);
    const act = await ask(strict, EXAMINE, { ...over(strict, pair('viewer')), ...post });
    assert.deepEqual([act.status, problemIn(act).code], [403, 'FORBIDDEN']);
    const may = await ask(strict, EXAMINE, { ...over(strict, pair('operator')), ...post });
    assert.equal(may.status, 201);
  });

  test('without a certificate there is no connection; where tokens are taken, there is no answer', async () => {
    await assert.rejects(ask(strict, '/v1/health', over(strict)));
    const nobody = await ask(lenient, '/v1/version', over(lenient));
    assert.deepEqual([nobody.status, problemIn(nobody).code], [401, 'UNAUTHENTICATED']);
    assert.match(String(nobody.headers['www-authenticate']), /^Bearer /);
  });

  test('a foreign, an expired and a forged certificate are refused, also beside a good token', async () => {
    const { token } = createToken(join(lenient.state, 'tokens.json'), { name: 'ci', role: 'admin', days: 1 });
    const foreign = await makeCa('Test CA', 30);
    const mine = { certificate: pem('ca.crt'), key: pem('ca.key') };
    const admin = { kind: 'client', name: 'admin', role: 'admin' } as const;
    const cases = {
      foreign: await issue(foreign, 'x', admin, [], 10),
      expired: await issue(mine, 'x', admin, [], 1, Date.now() - 3 * DAY_MS),
      early: await issue(mine, 'x', admin, [], 30, Date.now() + 2 * DAY_MS),
    };
    for (const [what, { certificate: cert, key }] of Object.entries(cases)) {
      await assert.rejects(ask(strict, '/v1/version', over(strict, { cert, key })), what);
      const headers = { authorization: `Bearer ${token}` };
      const refused = await ask(lenient, '/v1/version', { ...over(lenient, { cert, key }), headers });
      assert.deepEqual([what, refused.status, problemIn(refused).code], [what, 401, 'UNAUTHENTICATED']);
    }
  });

  test('a revoked certificate is refused from its next request on', async () => {
    assert.equal((await ask(strict, '/v1/version', over(strict, pair('gone')))).status, 200);
    revokeIn(pki, 'gone', 'test');
    const refused = await ask(strict, '/v1/version', over(strict, pair('gone')));
    assert.deepEqual([refused.status, problemIn(refused).code], [401, 'UNAUTHENTICATED']);
    assert.match(problemIn(refused).detail, /revoked/);
    assert.equal((await ask(strict, '/v1/version', over(strict, pair('viewer')))).status, 200);
  });

  test('a host may look and no more', async () => {
    assert.equal((await ask(strict, '/v1/hosts', over(strict, pair('alpha')))).status, 200);
    const act = await ask(strict, EXAMINE, { ...over(strict, pair('alpha')), ...post });
    assert.equal(problemIn(act).code, 'FORBIDDEN');
  });

  test('TLS 1.2 is refused', async () => {
    const connection = tlsConnect({
      port: lenient.daemon.port ?? 0,
      host: '127.0.0.1',
      ca: pem('ca.crt'),
      maxVersion: 'TLSv1.2',
    });
    const error = await new Promise((resolve) => {
      connection.once('error', resolve);
      connection.once('secureConnect', () => resolve(undefined));
    });
    connection.destroy();
    assert.match(String(error), /protocol version|alert/i);
  });

  test('a token has its role until it is revoked; nothing that is almost one is taken', async () => {
    const file = join(lenient.state, 'tokens.json');
    const { token, entry } = createToken(file, { name: 'eye', role: 'viewer', days: 1 });
    const by = (text: string) => ({ ...over(lenient), headers: { authorization: text } });
    assert.equal((await ask(lenient, '/v1/version', by(`Bearer ${token}`))).status, 200);
    const act = await ask(lenient, EXAMINE, {
      ...over(lenient),
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
    });
    assert.equal(problemIn(act).code, 'FORBIDDEN');
    for (const text of [
      token,
      `Basic ${token}`,
      'Bearer',
      'Bearer ',
      `Bearer ${token}x`,
      `Bearer ${token} ${token}`,
      `Bearer ${'a'.repeat(5000)}`,
    ]) {
      assert.equal((await ask(lenient, '/v1/version', by(text))).status, 401, text.slice(0, 40));
    }
    revokeToken(file, entry.id);
    const refused = await ask(lenient, '/v1/version', by(`Bearer ${token}`));
    assert.deepEqual([refused.status, problemIn(refused).code], [401, 'UNAUTHENTICATED']);
    const log = lenient.logged.join('');
    assert.ok(
      log.includes('token:eye') && !log.includes(token.slice(17)),
      'the log names the token and has no secret',
    );
  });

  test('who may not ask may not send a body either', async () => {
    const big = {
      ...over(lenient),
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '[',
    };
    assert.equal((await ask(lenient, EXAMINE, big)).status, 401);
  });
});

describe('over the Unix socket', () => {
  let here: TestDaemon;
  const closing: (() => void | Promise<void>)[] = [];
  const t = { after: (act: () => void | Promise<void>) => closing.push(act) };
  before(async () => {
    here = await testDaemon(t, {}, { times: { headersMs: 600, requestMs: 900 } });
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  test('ways out of a path lead nowhere', async () => {
    const up = [
      '..',
      '%2e%2e',
      '..%2f..%2fetc%2fpasswd',
      '%2e%2e%2f',
      '....//',
      '..%5c',
      '%00',
      'a%00.db',
      '/etc/passwd',
      '.hidden',
    ];
    const places = ['/v1/hosts/', '/v1/devices/', '/v1/migrations/', '/v1/shadows/web1/', '/v1/shadows/'];
    for (const place of places) {
      for (const each of up) {
        const reply = await here.send(`${place}${each}`);
        assert.ok(reply.status === 400 || reply.status === 404, `${place}${each}: ${reply.status}`);
        assert.ok(!reply.body.includes('root:'), each);
        problemIn(reply);
      }
    }
  });

  test('what a shell, a terminal, SQL or JavaScript would act on is refused in every field', async () => {
    const nasty = [
      '$(touch /tmp/x)',
      '`id`',
      'a;b',
      'a|b',
      'a&b',
      "a'b",
      'a"b',
      'a b',
      'a\nb',
      '\u001b[31m',
      "' OR 1=1 --",
      '../x',
      '%s%n',
      '{{x}}',
      '\u202e',
      '-rf',
      '*',
      '~',
      '__proto__/x',
    ];
    const fields = [
      (text: string) => `/v1/hosts/${text}`,
      (text: string) => `/v1/devices/${text}`,
      (text: string) => `/v1/devices?network=${text}`,
      (text: string) => `/v1/devices?free=${text}`,
      (text: string) => `/v1/devices?cursor=${text}`,
      (text: string) => `/v1/migrations/${text}`,
      (text: string) => `/v1/migrations/${text}/explanation`,
      (text: string) => `/v1/migrations?vm=${text}`,
      (text: string) => `/v1/migrations?state=${text}`,
      (text: string) => `/v1/migrations?limit=${text}`,
      (text: string) => `/v1/migrations?${text}=1`,
      (text: string) => `/v1/shadows/${text}/net0/versions`,
      (text: string) => `/v1/shadows/web1/${text}/versions`,
      (text: string) => `/v1/shadows/web1/net0/versions/${text}`,
      (text: string) => `/v1/events?after=${text}`,
    ];
    for (const field of fields) {
      for (const text of nasty) {
        const reply = await here.send(field(encodeURIComponent(text)));
        assert.ok(reply.status === 400 || reply.status === 404, `${field(text)}: ${reply.status}`);
        assert.equal(problemIn(reply).code === 'INTERNAL', false);
      }
    }
  });

  test('a body of 10 MB is refused without being read', async () => {
    const body = Buffer.alloc(10 * 1024 * 1024, ' ');
    const headers = { 'content-type': 'application/json' };
    const reply = await here.send(EXAMINE, { method: 'POST', headers, body });
    assert.deepEqual([reply.status, problemIn(reply).code], [413, 'BODY_TOO_LARGE']);
    const chunked = [
      'POST ',
      EXAMINE,
      ' HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n',
    ].join('');
    const chunk = `${(65_536).toString(16)}\r\n${' '.repeat(65_536)}\r\n`;
    const text = await talk(here.socket, chunked, ...Array<string>(40).fill(chunk));
    assert.match(text, /^HTTP\/1\.1 413 /);
    assert.equal(here.looks(), 0);
  });

  test('bodies that are no JSON, or set a prototype, or of another type', async () => {
    const json = { 'content-type': 'application/json' };
    const cases: [string, Record<string, string>, number, string][] = [
      ['{', json, 400, 'REQUEST_MALFORMED'],
      ['', json, 400, 'REQUEST_MALFORMED'],
      ['{"__proto__": {"fresh": true}}', json, 400, 'REQUEST_MALFORMED'],
      ['{"constructor": {"prototype": {"x": 1}}}', json, 400, 'REQUEST_MALFORMED'],
      ['{"fresh": "yes"}', json, 400, 'INPUT_FIELD'],
      ['[]', json, 400, 'INPUT_FIELD'],
      ['null', json, 201, ''],
      ['{"fresh": false, "also": 1}', json, 400, 'INPUT_FIELD'],
      ['<a/>', { 'content-type': 'application/xml' }, 415, 'MEDIA_TYPE'],
      ['[['.repeat(200_000), json, 400, 'REQUEST_MALFORMED'],
    ];
    for (const [body, headers, status, wanted] of cases) {
      const reply = await here.send(EXAMINE, { method: 'POST', headers, body });
      assert.equal(reply.status, status, `${body.slice(0, 60)}: ${reply.body}`);
      if (wanted !== '') assert.equal(problemIn(reply).code, wanted, body.slice(0, 60));
    }
  });

  test('who sends slowly is sent away, before the head and within the body', async () => {
    const head = await talk(here.socket, 'GET /v1/health HTTP/1.1\r\nhost: x\r\nx-slow: ');
    assert.match(head, /^HTTP\/1\.1 408 [\s\S]*REQUEST_SLOW/);
    const body = await talk(
      here.socket,
      `POST ${EXAMINE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{`,
    );
    assert.match(body, /^HTTP\/1\.1 408 /);
  });

  test('what is no HTTP, and headers without end, have an answer that says so', async () => {
    assert.match(
      await talk(here.socket, '\u0016\u0003\u0001hello\r\n\r\n'),
      /^HTTP\/1\.1 400 [\s\S]*REQUEST_MALFORMED/,
    );
    const headers = `GET /v1/health HTTP/1.1\r\nhost: x\r\n${Array.from({ length: 400 }, (_, n) => `x-${n}: ${'y'.repeat(90)}\r\n`).join('')}\r\n`;
    assert.match(await talk(here.socket, headers), /^HTTP\/1\.1 400 [\s\S]*16 KiB/);
    const smuggled = `POST ${EXAMINE} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`;
    assert.match(await talk(here.socket, smuggled), /^HTTP\/1\.1 400 /);
  });

  test('a token that is shown takes the place of the rights of the socket', async () => {
    const { token } = createToken(join(here.state, 'tokens.json'), { name: 'eye', role: 'viewer', days: 1 });
    const headers = { authorization: `Bearer ${token}` };
    assert.equal((await here.send('/v1/version', { headers })).status, 200);
    assert.equal(problemIn(await here.send(EXAMINE, { method: 'POST', headers })).code, 'FORBIDDEN');
    const wrong = { authorization: 'Bearer sfy_000000000000_x' };
    assert.equal((await here.send('/v1/version', { headers: wrong })).status, 401);
  });
});

test('who asks too often is told so, and when to come again; others are not held up', async (t) => {
  const { send: ask, state } = await testDaemon(t, { limits: { requestsPerSecond: 5 } });
  const { token } = createToken(join(state, 'tokens.json'), { name: 'eye', role: 'viewer', days: 1 });
  const replies = [];
  for (let n = 0; n < 12; n++) replies.push(await ask('/v1/version'));
  const refused = replies.filter(({ status }) => status === 429);
  assert.ok(refused.length >= 1, replies.map(({ status }) => status).join());
  for (const reply of refused) {
    assert.equal(problemIn(reply).code, 'RATE_LIMITED');
    assert.match(String(reply.headers['retry-after']), /^\d+$/);
  }
  const other = await ask('/v1/version', { headers: { authorization: `Bearer ${token}` } });
  assert.equal(other.status, 200);
});

test('a socket path that is a link, a file, in a directory of everybody, or in use is refused', async (t) => {
  const first = await testDaemon(t);
  const directory = scratch(t);
  mkdirSync(join(directory, 'run'), { mode: 0o700 });
  const socket = join(directory, 'run', 'd.sock');
  const victim = join(directory, 'victim');
  const start = () => testDaemon(t, {}, {}, directory);
  writeFileSync(victim, 'kept');
  symlinkSync(victim, socket);
  await assert.rejects(start(), code('SOCKET_UNSAFE'));
  assert.equal(readFileSync(victim, 'utf8'), 'kept');
  const cases: [string, Record<string, unknown>][] = [
    ['a file', { socket: { path: victim } }],
    ['in use', { socket: { path: first.socket } }],
    ['a directory of everybody', { socket: { path: '/tmp/sf-test.sock' } }],
    ['a group that is none', { socket: { path: join(directory, 'run', 'e.sock'), group: 'no-such-group' } }],
  ];
  for (const [what, settings] of cases) {
    await assert.rejects(testDaemon(t, settings, {}, directory), code('SOCKET_UNSAFE'), what);
  }
  assert.equal(readFileSync(victim, 'utf8'), 'kept');
  assert.equal((await first.send('/v1/health')).status, 200, 'the first one is not disturbed');
  assert.ok(existsSync(first.socket));
});

test('a configuration cannot let everybody use the socket', () => {
  assert.throws(() => DaemonConfig.parse({ host: 'a', socket: { mode: '0666' } }));
});
