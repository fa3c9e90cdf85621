import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { modelIdentity } from './pci.ts';

const ask = (model: string) =>
  modelIdentity({
    binary: 'qemu-system-x86_64',
    machine: 'q35',
    model,
    field: 'devices.net0',
    signal: deadline('asking QEMU for a model', 20_000),
  });

test('QEMU itself says which driver a model needs', async () => {
  assert.deepEqual(await ask('vmxnet3'), {
    pciId: '15ad:07b0',
    modalias: 'pci:v000015ADd000007B0sv000015ADsd000007B0bc02sc00i00',
  });
});

test('conventional PCI models fit a root port too', async () => {
  assert.equal((await ask('rtl8139')).pciId, '10ec:8139');
});

test('a model that QEMU does not have is named with its field', async () => {
  await assert.rejects(ask('warpdrive'), (error) => {
    assert.ok(error instanceof ShadowferryError && error.code === 'UNKNOWN_MODEL');
    assert.match(error.message, /devices\.net0: "warpdrive"/);
    return true;
  });
});
