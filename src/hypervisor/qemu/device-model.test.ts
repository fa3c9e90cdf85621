import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceModel } from './device-model.ts';

test('a plain model has one queue and no properties', () => {
  assert.deepEqual(deviceModel('e1000e'), { driver: 'e1000e', properties: {}, queues: 1 });
});

test('queues are the back end’s, and the device is told to use them', () => {
  assert.deepEqual(deviceModel('virtio-net-pci,queues=4,rss=on'), {
    driver: 'virtio-net-pci',
    properties: { mq: 'on', vectors: '10', rss: 'on' },
    queues: 4,
  });
});

test('an option of its own wins over what follows from the queues', () => {
  assert.equal(deviceModel('virtio-net-pci,queues=2,vectors=3').properties.vectors, '3');
});

test('what is no number of queues is left for QEMU to refuse', () => {
  assert.deepEqual(deviceModel('virtio-net-pci,queues=many').properties, { queues: 'many' });
});
