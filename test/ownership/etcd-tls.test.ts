/** etcd with TLS, by the certificates that `shadowferry pki` makes. One real member. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { issue, makeCa } from '../../src/daemon/pki/certificate.ts';
import { refusedWith } from '../../src/ownership/contract.test-data.ts';
import { Cluster, withoutEtcd } from '../../src/ownership/etcd/cluster.test-data.ts';
import { EtcdConfig } from '../../src/ownership/etcd/config.ts';
import { EtcdOwnership } from '../../src/ownership/etcd/ownership.ts';

/** A host's certificate for 127.0.0.1 by a CA of its own. */
async function certificateIn(
  directory: string,
  name: string,
): Promise<{ ca: string; cert: string; key: string }> {
  const ca = await makeCa(`authority of ${name}`, 1);
  const { certificate, key } = await issue(ca, 'ca.pem', { kind: 'host', name }, ['127.0.0.1'], 1);
  const write = (file: string, text: string): string => {
    const path = join(directory, `${name}-${file}.pem`);
    writeFileSync(path, text);
    return path;
  };
  return { ca: write('ca', ca.certificate), cert: write('cert', certificate), key: write('key', key) };
}

function opened(t: TestContext, config: EtcdConfig): EtcdOwnership {
  const store = new EtcdOwnership(config);
  t.after(() => store.close());
  return store;
}

test('certificates are asked for and checked on both sides, and read again when replaced', {
  skip: withoutEtcd,
}, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-etcd-tls-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const ours = await certificateIn(directory, 'etcd');
  const foreign = await certificateIn(directory, 'foreign');
  const files = [`--cert-file=${ours.cert}`, `--key-file=${ours.key}`, `--trusted-ca-file=${ours.ca}`];
  const cluster = await Cluster.start(1, { arguments: [...files, '--client-cert-auth'] });
  t.after(() => cluster.stop());
  const config = (tls: object) => EtcdConfig.parse({ ...cluster.config(), tls });
  const store = opened(t, config(ours));
  const record = await store.register('web1', 'a', deadline('the first answer', 20_000));
  for (const tls of [{ ca: ours.ca }, { ...ours, ca: foreign.ca }, { ...foreign, ca: ours.ca }]) {
    await assert.rejects(opened(t, config(tls)).read('web1'), refusedWith('STORE_LOGIN_REFUSED'));
  }
  const replaced = await certificateIn(directory, 'replaced');
  const patient = opened(t, config({ ...replaced, ca: ours.ca }));
  await assert.rejects(patient.read('web1'), refusedWith('STORE_LOGIN_REFUSED'));
  copyFileSync(ours.cert, replaced.cert);
  copyFileSync(ours.key, replaced.key);
  assert.deepEqual(await patient.read('web1'), record);
});
