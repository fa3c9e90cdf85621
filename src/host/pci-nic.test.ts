import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { findPciNic, pciNics, unbindDriver } from './pci-nic.ts';

const root = mkdtempSync(join(tmpdir(), 'sf-sys-'));
after(() => rmSync(root, { recursive: true, force: true }));

function file(path: string, text: string): void {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), text);
}

function device(
  path: string,
  options: { class?: string; driver?: string; net?: string; virtio?: string },
): void {
  const dir = `bus/pci/devices/${path}`;
  file(`${dir}/class`, `${options.class ?? '0x020000'}\n`);
  file(`${dir}/vendor`, '0x8086\n');
  file(`${dir}/device`, '0x10d3\n');
  file(`${dir}/modalias`, 'pci:v00008086d000010D3\n');
  if (options.driver !== undefined) {
    file(`bus/pci/drivers/${options.driver}/unbind`, '');
    symlinkSync(join(root, 'bus/pci/drivers', options.driver), join(root, dir, 'driver'));
  }
  if (options.net !== undefined) {
    const below = options.virtio === undefined ? dir : `${dir}/${options.virtio}`;
    file(`${below}/net/${options.net}/x`, '');
    file(`class/net/${options.net}/address`, '02:00:00:00:00:01\n');
    file(`class/net/${options.net}/flags`, '0x1003\n');
  }
}

device('0000:01:00.0', { driver: 'e1000e', net: 'eth0' });
device('0000:02:00.0', { driver: 'virtio-pci', net: 'eth1', virtio: 'virtio3' });
device('0000:03:00.0', { class: '0x010000' });
device('0000:04:00.0', {});
mkdirSync(join(root, 'class/net/eth0/upper_bond0'));

test('network devices are found with their drivers and interfaces, also below virtio', () => {
  const nics = pciNics(root);
  assert.deepEqual(
    nics.map(({ pciPath, driver, interface: its }) => [pciPath, driver, its?.name, its?.above]),
    [
      ['0000:01:00.0', 'e1000e', 'eth0', ['bond0']],
      ['0000:02:00.0', 'virtio-pci', 'eth1', []],
      ['0000:04:00.0', undefined, undefined, undefined],
    ],
  );
  assert.equal(nics[0]?.pciId, '8086:10d3');
  assert.equal(nics[0]?.interface?.up, true);
});

test('one is named by its address or its interface; what is not there is named with what is', () => {
  const nics = pciNics(root);
  assert.equal(findPciNic(nics, 'eth1', 'device').pciPath, '0000:02:00.0');
  assert.equal(findPciNic(nics, '0000:04:00.0', 'with').pciPath, '0000:04:00.0');
  assert.throws(
    () => findPciNic(nics, 'eth7', 'device'),
    (error: unknown) =>
      error instanceof ShadowferryError && /0000:01:00.0 \(eth0\)/.test(String(error.params.allowed)),
  );
});

test('unbinding tells the driver of the device, and nobody where there is none', async () => {
  await unbindDriver('0000:01:00.0', root);
  assert.equal(readFileSync(join(root, 'bus/pci/drivers/e1000e/unbind'), 'utf8'), '0000:01:00.0');
  await unbindDriver('0000:04:00.0', root);
});
