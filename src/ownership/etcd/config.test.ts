import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EtcdConfig } from './config.ts';

const endpoints = ['https://10.0.0.1:2379'];
const auth = { user: 'shadowferry', passwordFile: '/etc/shadowferry/etcd-password' };

test('little needs to be said', () => {
  assert.deepEqual(EtcdConfig.parse({ endpoints }), {
    endpoints,
    prefix: '/shadowferry',
    timeoutMs: 5_000,
    memberMs: 1_000,
  });
});

test('what cannot work is refused, with the place', () => {
  const cases: [object, RegExp][] = [
    [{ endpoints: [] }, /endpoints/],
    [{ endpoints: ['10.0.0.1:2379'] }, /endpoints.*not an http or https URL/s],
    [{ endpoints: ['https://10.0.0.1:2379/v3'] }, /more than a host and a port/],
    [{ endpoints: ['https://u:p@10.0.0.1:2379'] }, /more than a host and a port/],
    [{ endpoints, prefix: 'shadowferry' }, /prefix/],
    [{ endpoints, prefix: '/shadow ferry/' }, /prefix/],
    [{ endpoints, tls: { cert: '/cert.pem' } }, /cert and key belong together/],
    [{ endpoints, auth: { user: 'u' } }, /passwordFile/],
    [{ endpoints, password: 'secret' }, /password/],
    [{ endpoints: ['http://10.0.0.1:2379'], auth }, /by https only/],
  ];
  for (const [value, says] of cases) {
    const { error } = EtcdConfig.safeParse(value);
    assert.match(error?.message ?? 'taken', says, JSON.stringify(value));
  }
});

test('a password may go to this machine without TLS', () => {
  for (const host of ['localhost', '127.0.0.1', '[::1]'])
    assert.ok(EtcdConfig.safeParse({ endpoints: [`http://${host}:2379`], auth }).success, host);
});
