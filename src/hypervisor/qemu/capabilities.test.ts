import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findProgram } from '../../base/find-program.ts';
import { parseNetModels, probeQemu } from './capabilities.ts';

const HELP = `Controller/Bridge/Hub devices:
name "pcie-root-port", bus PCI, desc "PCI Express Root Port"

Network devices:
name "e1000", bus PCI, alias "e1000-82540em", desc "Intel Gigabit Ethernet"
name "ne2k_isa", bus ISA
name "pvrdma", bus PCI, desc "RDMA Device"
name "rocker", bus PCI, desc "Rocker Switch"
name "tulip", bus PCI
name "virtio-net-device", bus virtio-bus
name "virtio-net-pci", bus PCI, alias "virtio-net"

Storage devices:
name "nvme", bus PCI, desc "Non-Volatile Memory Express"
`;

test('of all devices, the PCI NICs are read with their other names and descriptions', () => {
  assert.deepEqual(parseNetModels(HELP), [
    { name: 'e1000', alias: 'e1000-82540em', description: 'Intel Gigabit Ethernet' },
    { name: 'tulip' },
    { name: 'virtio-net-pci', alias: 'virtio-net' },
  ]);
  assert.deepEqual(parseNetModels(''), []);
});

const signal = () => AbortSignal.timeout(20_000);

test('a program that is not there is named', async () => {
  await assert.rejects(probeQemu('/nowhere/qemu', { signal: signal() }), {
    code: 'TOOL_MISSING',
    message: '/nowhere/qemu is missing on this machine',
  });
});

const binary = findProgram('qemu-system-x86_64');
const real = { skip: binary === undefined && 'there is no qemu-system-x86_64 here' };

test('a real QEMU says what it can do', real, async () => {
  const qemu = await probeQemu('qemu-system-x86_64', { signal: signal() });
  assert.ok(qemu.version.major >= 7, JSON.stringify(qemu.version));
  assert.ok(qemu.machines.some(({ alias }) => alias === 'q35'));
  const models = qemu.netModels.map(({ name }) => name);
  for (const model of ['e1000e', 'vmxnet3', 'virtio-net-pci']) assert.ok(models.includes(model), model);
  assert.ok(!models.includes('nvme'));
  assert.ok(qemu.migrationCapabilities.includes('postcopy-ram'));
  assert.notEqual(qemu.postcopy.reason, '');
});

test('a QEMU is asked once, and again after a failure', real, async () => {
  const [one, two] = [
    probeQemu('qemu-system-x86_64', { signal: signal() }),
    probeQemu('qemu-system-x86_64', { signal: signal() }),
  ];
  assert.equal(await one, await two);
  const path = String(binary);
  await assert.rejects(probeQemu(path, { signal: AbortSignal.abort(new Error('given up')) }), /given up/);
  assert.equal((await probeQemu(path, { signal: signal() })).binary, path);
});
