import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitModels } from './lab.ts';

test('options belong to the model before them', () => {
  const split = (text: string) => splitModels('--devices-a', text);
  assert.deepEqual(split('e1000e, vmxnet3'), ['e1000e', 'vmxnet3']);
  assert.deepEqual(split('virtio-net-pci,queues=2,rss=on,e1000e'), [
    'virtio-net-pci,queues=2,rss=on',
    'e1000e',
  ]);
  assert.deepEqual(split('virtio-net-pci,queues=2@storage'), ['virtio-net-pci,queues=2@storage']);
  for (const text of ['', 'e1000e,', 'queues=2', ',queues=2', 'e1000e,,vmxnet3', '=,e1000e']) {
    assert.throws(() => split(text), /INPUT_FIELD|is not a list of models/, text);
  }
});
