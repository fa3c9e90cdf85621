/** The golden captures, for tests. */
import { readFileSync } from 'node:fs';
import { parseCapture } from './capture.ts';
import type { DeviceIdentity, NetShadow } from './model.ts';

export type GoldenName =
  | 'e1000e'
  | 'vmxnet3'
  | 'virtio-net'
  | 'rtl8139'
  | 'e1000e-bond'
  | 'e1000e-bond-away'
  | 'vmxnet3-bond'
  | 'e1000e-failover'
  | 'odd-names'
  | 'mac-changed'
  | 'e1000e-tuned'
  | 'vmxnet3-queues'
  | 'virtio-net-queues'
  | 'absent';

export const GOLDENS: GoldenName[] = [
  'e1000e',
  'vmxnet3',
  'virtio-net',
  'rtl8139',
  'e1000e-bond',
  'e1000e-bond-away',
  'vmxnet3-bond',
  'e1000e-failover',
  'odd-names',
  'mac-changed',
  'e1000e-tuned',
  'vmxnet3-queues',
  'virtio-net-queues',
];

export const goldenText = (name: GoldenName): string =>
  readFileSync(new URL(`./golden/${name}.txt`, import.meta.url), 'utf8');

export const goldenIdentity = (name: GoldenName): DeviceIdentity => ({
  mac: '52:54:00:00:00:01',
  pciPath: name === 'rtl8139' ? '0000:00:09.0' : '0000:01:00.0',
});

export const goldenShadow = (name: GoldenName): NetShadow =>
  parseCapture(goldenText(name), goldenIdentity(name));
