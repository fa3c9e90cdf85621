import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findProgram } from '../../base/find-program.ts';
import { ShadowferryError } from '../../errors.ts';
import { factsOf, issue, makeCa } from './certificate.ts';
import { initCa, issueIn, listIn, revokedFile, revokeIn } from './directory.ts';
import { holderOf } from './names.ts';
import { RevokedList, readRevoked } from './revoked.ts';

const code = (wanted: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === wanted;

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sf-pki-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

const OPERATOR = { kind: 'client', name: 'ci', role: 'operator' } as const;
const HOST = { kind: 'host', name: 'alpha' } as const;

test('a CA issues certificates for hosts and clients that OpenSSL and Node take, each for its purpose', async (t) => {
  const directory = scratch(t);
  await initCa(directory, 'Test CA', 30);
  const host = await issueIn(directory, HOST, ['alpha', '192.0.2.1', '2001:db8::1'], 10);
  const client = await issueIn(directory, OPERATOR, [], 10);
  assert.deepEqual(host.facts.names, ['alpha', '192.0.2.1', '2001:db8::1']);
  assert.deepEqual(client.facts.holder, OPERATOR);
  const ca = new X509Certificate(readFileSync(join(directory, 'ca.crt')));
  const parsed = new X509Certificate(readFileSync(host.certificate));
  assert.ok(parsed.verify(ca.publicKey) && parsed.checkIssued(ca) && ca.ca && !parsed.ca);
  assert.ok(parsed.checkHost('alpha') && parsed.checkIP('192.0.2.1') && !parsed.checkHost('beta'));
  const openssl = findProgram('openssl');
  if (openssl === undefined) return t.diagnostic('no openssl here: not verified with it');
  const verify = (file: string, purpose: string) =>
    spawnSync(openssl, [
      'verify',
      '-x509_strict',
      '-purpose',
      purpose,
      '-CAfile',
      join(directory, 'ca.crt'),
      file,
    ]).status;
  assert.deepEqual(
    [
      verify(host.certificate, 'sslserver'),
      verify(client.certificate, 'sslclient'),
      verify(client.certificate, 'sslserver'),
    ],
    [0, 0, 2],
  );
});

test('keys can be read by their owner only, and nothing is ever overwritten or followed', async (t) => {
  const directory = scratch(t);
  await initCa(directory, 'Test CA', 30);
  const before = readFileSync(join(directory, 'ca.key'), 'utf8');
  assert.equal(statSync(join(directory, 'ca.key')).mode & 0o777, 0o600);
  await assert.rejects(initCa(directory, 'Other', 30), code('FILE_EXISTS'));
  assert.equal(readFileSync(join(directory, 'ca.key'), 'utf8'), before);
  const victim = join(directory, 'victim');
  writeFileSync(victim, 'kept');
  symlinkSync(victim, join(directory, 'ci.key'));
  await assert.rejects(issueIn(directory, OPERATOR, [], 10), code('FILE_EXISTS'));
  assert.equal(readFileSync(victim, 'utf8'), 'kept');
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.includes('.new')),
    [],
  );
});

test('a name cannot lead out of the directory, nor be the CA', async (t) => {
  const directory = scratch(t);
  await initCa(directory, 'Test CA', 30);
  for (const name of ['../evil', 'a/b', '', '.hidden', 'ca', 'a\nb', 'a b', '$(id)']) {
    await assert.rejects(issueIn(directory, { ...OPERATOR, name }, [], 1), code('INPUT_FIELD'), name);
  }
});

test('a key of a CA that others may write or read is not used', async (t) => {
  const directory = scratch(t);
  await initCa(directory, 'Test CA', 30);
  chmodSync(join(directory, 'ca.key'), 0o644);
  await assert.rejects(issueIn(directory, OPERATOR, [], 1), code('FILE_UNSAFE'));
});

test('a certificate ends before its CA does', async () => {
  const ca = await makeCa('c', 5);
  const { certificate } = await issue(ca, 'ca.crt', OPERATOR, [], 100);
  assert.equal(factsOf(certificate, 'x').notAfterMs, factsOf(ca.certificate, 'x').notAfterMs);
});

test('revoking is by name or serial, twice is once, and the list of a running daemon follows', async (t) => {
  const directory = scratch(t);
  await initCa(directory, 'Test CA', 30);
  const { facts } = await issueIn(directory, OPERATOR, [], 10);
  const list = new RevokedList(revokedFile(directory));
  assert.equal(list.check(facts.serial), undefined);
  revokeIn(directory, 'ci', 'left');
  revokeIn(directory, facts.serial.toUpperCase(), 'again');
  assert.equal(list.check(facts.serial), 'its certificate is revoked');
  assert.equal(list.check('1234'), undefined);
  assert.equal(readRevoked(revokedFile(directory)).length, 1);
  assert.deepEqual(
    listIn(directory).map(({ file, revoked }) => [file, revoked]),
    [
      ['ca.crt', false],
      ['ci.crt', true],
    ],
  );
  assert.throws(() => revokeIn(directory, 'nobody', ''), code('INPUT_FIELD'));
});

test('a list of revoked certificates that breaks or goes revokes everything', async (t) => {
  const directory = scratch(t);
  await initCa(directory, 'Test CA', 30);
  await issueIn(directory, OPERATOR, [], 10);
  revokeIn(directory, 'ci', 'left');
  const file = revokedFile(directory);
  const list = new RevokedList(file);
  writeFileSync(file, '{');
  assert.match(list.check('1234') ?? '', /cannot be read/);
  rmSync(file);
  assert.match(list.check('1234') ?? '', /cannot be read/);
  assert.throws(() => {
    writeFileSync(file, '{}');
    return new RevokedList(file);
  }, code('PKI_INVALID'));
});

test('only our own URIs give a role, and two of them give none', () => {
  assert.deepEqual(holderOf('x', ['shadowferry://role/admin']), { kind: 'client', name: 'x', role: 'admin' });
  assert.deepEqual(holderOf('x', ['shadowferry://host/alpha']), { kind: 'host', name: 'alpha' });
  for (const uris of [
    [],
    ['shadowferry://role/root'],
    ['https://role/admin'],
    ['shadowferry://role/admin/x'],
    ['x shadowferry://role/admin'],
    ['shadowferry://role/viewer', 'shadowferry://role/admin'],
    ['shadowferry://host/a', 'shadowferry://role/admin'],
  ])
    assert.equal(holderOf('x', uris), undefined, uris.join());
});
