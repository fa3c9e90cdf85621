import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Learned } from '../../hypervisor/qemu/learn.ts';
import { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { abilitiesOf } from './abilities.ts';

const learned: Learned = {
  ...{
    name: 'web1',
    status: 'running',
    running: true,
    migrating: false,
    machine: 'pc-q35-7.2',
    memoryMiB: 64,
  },
  ...{
    cpus: 1,
    cpu: 'qemu64',
    boot: { kernel: '/k', initrd: '', append: '' },
    devices: [],
    nics: [],
    disks: [],
  },
  ...{ rootSlots: [], sockets: new Map(), ports: new Map([['org.qemu.guest_agent.0', 'agent0']]) },
};

function bridgeOf(...standbys: ('none' | 'virtio')[]): { can: boolean; reason: string } | undefined {
  const nics = standbys.map((standby, n) => ({
    ...{ id: `net${n}`, mac: `52:54:00:00:00:0${n}`, network: 'lan', standby },
    direct: { device: `nic${n}`, model: 'e1000e' },
  }));
  const spec = VmSpec.parse({ name: 'web1', memoryMiB: 64, boot: { kernel: '/k' }, nics });
  const facts = { learned, spec, differences: [], serial: undefined, agent: true };
  return abilitiesOf(facts).find(({ what }) => what === 'bridge');
}

test('traffic is bridged only where each direct device has a standby, and those without are named', () => {
  assert.equal(bridgeOf('virtio', 'virtio')?.can, true);
  const one = bridgeOf('virtio', 'none');
  assert.equal(one?.can, false);
  assert.match(one?.reason ?? '', /^net1 has no standby/);
  assert.match(bridgeOf('none', 'none')?.reason ?? '', /^net0, net1 have no standby/);
});
