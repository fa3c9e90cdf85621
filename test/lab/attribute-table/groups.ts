/** All cases, in groups that go through one migration together. */
import { ADDRESSING_CASES } from './addressing.ts';
import type { AttributeCase, CaseGroup } from './case.ts';
import { DEPENDENT_CASES, ELSEWHERE } from './dependents.ts';
import { DRIVER_CASES, DRIVER_LOSSES } from './driver.ts';
import { ADDRESS_MODE, LINK_ALONE, LINK_CASES, SHADOW_INTERFACE_CASES, TOKEN } from './link.ts';
import { BOND_PORT_CASES, PORT_CASES, USER_BOND_CASES } from './port.ts';
import { QUEUEING_CASES } from './queueing.ts';
import { NO_IPV6, SYSCTL_CASES } from './sysctl.ts';
import { ADAPTED_PROGRAM, LOST_PROGRAM, TRAFFIC_CONTROL_CASES } from './traffic-control.ts';
import { FEWER_QUEUES, MEDIA_LOSSES, OTHER_VECTORS, TUNING_LOSSES } from './tuning.ts';
import { NEXTHOP_CASES, UPPER_CASES } from './uppers.ts';

const only = (cases: readonly AttributeCase[], ...keys: string[]): AttributeCase[] =>
  cases.filter(({ key }) => keys.includes(key));

export const GROUPS: readonly CaseGroup[] = [
  {
    name: 'everything that goes together',
    from: 'e1000e',
    to: 'vmxnet3',
    continuity: 'replay',
    cases: [
      ...LINK_CASES,
      ...SYSCTL_CASES,
      TOKEN,
      ...ADDRESSING_CASES,
      ...UPPER_CASES,
      ...DEPENDENT_CASES,
      ...QUEUEING_CASES,
      ...DRIVER_CASES,
      ...TUNING_LOSSES,
      ...NEXTHOP_CASES,
    ],
  },
  {
    name: 'another MAC, no ARP, no multicast',
    from: 'vmxnet3',
    to: 'rtl8139',
    continuity: 'replay',
    cases: [...only(LINK_ALONE, 'link.mac', 'link.multicast', 'link.arp'), ADDRESS_MODE, LOST_PROGRAM],
  },
  {
    name: 'no IPv6, in a VRF',
    from: 'e1000e',
    to: 'virtio-net-pci',
    continuity: 'replay',
    cases: [...only(LINK_ALONE, 'link.master'), NO_IPV6, ...DRIVER_LOSSES, ...MEDIA_LOSSES],
  },
  {
    name: 'classes and filters',
    from: 'vmxnet3',
    to: 'e1000e',
    continuity: 'replay',
    cases: TRAFFIC_CONTROL_CASES,
  },
  {
    name: 'a port of a bridge',
    from: 'e1000e',
    to: 'vmxnet3',
    continuity: 'replay',
    cases: PORT_CASES,
  },
  {
    name: 'a port of a bond of the user',
    from: 'vmxnet3',
    to: 'e1000e',
    continuity: 'replay',
    cases: USER_BOND_CASES,
  },
  {
    name: 'a shadow interface',
    from: 'e1000e',
    to: 'vmxnet3',
    continuity: 'hold',
    adopted: true,
    cases: [...SHADOW_INTERFACE_CASES, ...BOND_PORT_CASES, ELSEWHERE],
  },
  {
    name: 'as many queues, other interrupts',
    from: 'virtio-net-pci,queues=2,rss=on',
    to: 'vmxnet3',
    continuity: 'replay',
    cpus: 2,
    cases: [...OTHER_VECTORS, ADAPTED_PROGRAM],
  },
  {
    name: 'fewer queues',
    from: 'virtio-net-pci,queues=4,rss=on',
    to: 'virtio-net-pci,queues=2,rss=on',
    continuity: 'replay',
    cpus: 2,
    cases: FEWER_QUEUES,
  },
];
