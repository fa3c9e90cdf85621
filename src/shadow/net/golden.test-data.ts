/** The golden captures, for tests. */
import { readFileSync } from 'node:fs';
import { parseCapture } from './capture.ts';
import type { DeviceIdentity, NetShadow } from './model.ts';

/** Of each release of Debian, taken by test/lab/goldens. */
const PARTS = ['bond', 'uppers', 'port', 'odd'] as const;
export type GoldenPart = (typeof PARTS)[number];
export const RELEASES = ['debian12', 'debian13'] as const;

const SINGLE = [
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
] as const;

export type GoldenName = (typeof SINGLE)[number] | `${(typeof RELEASES)[number]}-${GoldenPart}` | 'absent';

/** All but `absent`, which holds no device. */
export const GOLDENS: GoldenName[] = [
  ...SINGLE,
  ...RELEASES.flatMap((release) => PARTS.map((part): GoldenName => `${release}-${part}`)),
];

const NIC: Readonly<Record<GoldenPart, DeviceIdentity>> = {
  bond: { mac: '52:54:00:5f:00:10', pciPath: '0000:01:00.0' },
  uppers: { mac: '52:54:00:5f:01:10', pciPath: '0000:03:00.0' },
  port: { mac: '52:54:00:5f:02:10', pciPath: '0000:05:00.0' },
  odd: { mac: '52:54:00:5f:03:10', pciPath: '0000:07:00.0' },
};

export const goldenText = (name: GoldenName): string =>
  readFileSync(new URL(`./golden/${name}.txt`, import.meta.url), 'utf8');

export function goldenIdentity(name: GoldenName): DeviceIdentity {
  const part = PARTS.find((each) => RELEASES.some((release) => name === `${release}-${each}`));
  if (part !== undefined) return NIC[part];
  return { mac: '52:54:00:00:00:01', pciPath: name === 'rtl8139' ? '0000:00:09.0' : '0000:01:00.0' };
}

export const goldenShadow = (name: GoldenName): NetShadow =>
  parseCapture(goldenText(name), goldenIdentity(name));
