import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { QmpClient } from '../../hypervisor/qmp/client.ts';
import { type DiskTls, openExports } from '../../storage/exports.ts';
import { startMirrors } from '../../storage/mirror.ts';
import type { DiskExport } from '../../storage/model.ts';
import { initCa, issueIn } from '../pki/directory.ts';
import { diskTls } from './disk-tls.ts';

const QEMU = 'qemu-system-x86_64';
const skip =
  spawnSync(QEMU, ['--version']).error === undefined ? false : `${QEMU} is missing on this machine`;
const soon = () => deadline('a test', 20_000);
const BYTES = 8 * 1024 ** 2;

async function qemu(t: TestContext, directory: string, name: string, words: readonly string[]) {
  const path = join(directory, `${name}.sock`);
  const disk = join(directory, `${name}.raw`);
  writeFileSync(disk, '');
  truncateSync(disk, BYTES);
  const node = `driver=raw,node-name=disk-d,file.driver=file,file.filename=${disk}`;
  const child = spawn(
    QEMU,
    [
      ...['-M', 'none', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S', ...words],
      ...['-blockdev', node, '-blockdev', 'driver=raw,node-name=top-d,file=disk-d'],
      ...['-qmp', `unix:${path},server=on,wait=off`],
    ],
    { stdio: ['ignore', 'ignore', 'ignore'] },
  );
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const qmp = await QmpClient.connect({ path, name, signal: soon() });
  t.after(async () => {
    await qmp.close();
    child.kill('SIGKILL');
    await exited;
  });
  return qmp;
}

async function tlsOf(directory: string, ca: string, name: string): Promise<DiskTls> {
  const pki = join(directory, ca);
  const { certificate, key } = await issueIn(
    pki,
    { kind: 'host', name },
    [`${name}.example`, '127.0.0.1'],
    1,
  );
  const listen = {
    ...{ certificate, key, clientCa: join(pki, 'ca.crt'), authentication: 'certificate' as const },
    address: { host: '127.0.0.1', port: 1 },
  };
  const tls = diskTls(join(directory, `tls-${ca}-${name}`), listen);
  assert.ok(tls);
  return tls;
}

describe('disks between hosts', { skip }, () => {
  test('are encrypted with the certificates of the daemons; another host may not send them', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'sf-dtls-'));
    t.after(() => rmSync(directory, { recursive: true }));
    for (const ca of ['ca', 'other']) await initCa(join(directory, ca), 'CA', 1);
    const beta = await tlsOf(directory, 'ca', 'beta');
    assert.equal(beta.name, 'beta.example');
    const destination = await qemu(t, directory, 'b', ['-incoming', 'defer']);
    const target = {
      id: 'd',
      path: '/x',
      format: 'raw',
      at: 'file',
      replaces: false,
      virtualBytes: BYTES,
    } as const;
    const options = { address: '127.0.0.1', migration: 'm-1', source: 'alpha', tls: beta };
    const exports = await openExports(destination, [target], options, soon());
    const source = await qemu(t, directory, 'a', []);
    const send = async (tls: DiskTls, to: readonly DiskExport[] = exports) =>
      startMirrors(source, to, { speed: 0, tls }, soon());
    const refused = { code: 'DISK_COPY_FAILED' };
    await assert.rejects(send(await tlsOf(directory, 'ca', 'gamma')), refused, 'another host of the same CA');
    await assert.rejects(send(await tlsOf(directory, 'other', 'alpha')), refused, 'one of another CA');
    const alpha = await tlsOf(directory, 'ca', 'alpha');
    const elsewhere = exports.map((each) => ({ ...each, certificate: 'delta.example' }));
    await assert.rejects(send(alpha, elsewhere), refused, 'who takes them is not who should');
    await send(alpha);
  });
});
