import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { choosePackages, moduleClosure, moduleName, parseLibraries, parseSimulation } from './resolve.ts';

describe('what apt says', () => {
  it('lists the packages of a simulation with their versions, other lines left out', () => {
    const text = [
      'NOTE: This is only a simulation!',
      'Inst libmnl0 (1.0.4-3 Debian:12.15/oldstable [amd64])',
      'Inst libkrb5-3:amd64 (1.20.1-2+deb12u5 Debian:12.15/oldstable, Debian-Security:12 [amd64])',
      'Inst iproute2 [5.10.0-4] (6.1.0-3 Debian:12.15/oldstable [amd64])',
      'Conf iproute2 (6.1.0-3 Debian:12.15/oldstable [amd64])',
    ].join('\n');
    assert.deepEqual(parseSimulation(text), [
      { name: 'libmnl0', version: '1.0.4-3' },
      { name: 'libkrb5-3', version: '1.20.1-2+deb12u5' },
      { name: 'iproute2', version: '6.1.0-3' },
    ]);
  });

  it('keeps libraries, the kernel and what was asked for, not what configures a full system', () => {
    const names = ['libc6', 'zlib1g', 'linux-image-6.1.0-56-amd64', 'linux-image-amd64', 'perl-base', 'kmod'];
    const kept = choosePackages(
      names.map((name) => ({ name, version: '1' })),
      ['kmod'],
    );
    assert.deepEqual(
      kept.map(({ name }) => name),
      ['libc6', 'zlib1g', 'linux-image-6.1.0-56-amd64', 'kmod'],
    );
  });
});

describe('what the loader says', () => {
  it('maps library names to paths and lists the missing ones', () => {
    const text = [
      '\tlinux-vdso.so.1 (0x00007ffd)',
      '\tlibz.so.1 => /stage/usr/lib/libz.so.1 (0x00007f)',
      '\tlibgone.so.3 => not found',
      '\t/lib64/ld-linux-x86-64.so.2 => /stage/ld-linux-x86-64.so.2 (0x00007f)',
    ].join('\n');
    const { found, missing } = parseLibraries(text);
    assert.deepEqual(
      [...found],
      [
        ['libz.so.1', '/stage/usr/lib/libz.so.1'],
        ['ld-linux-x86-64.so.2', '/stage/ld-linux-x86-64.so.2'],
      ],
    );
    assert.deepEqual(missing, ['libgone.so.3']);
  });
});

describe('modules', () => {
  const dep = [
    'kernel/net/failover.ko:',
    'kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/failover.ko',
    'kernel/drivers/net/net_failover.ko: kernel/net/failover.ko',
    'kernel/drivers/net/ne2k-pci.ko.xz: kernel/drivers/net/8390.ko.xz',
    'kernel/drivers/net/8390.ko.xz:',
  ].join('\n');

  it('brings the modules that a module needs, each once', () => {
    assert.deepEqual(moduleClosure(dep, ['virtio_net', 'net_failover']).paths, [
      'kernel/drivers/net/net_failover.ko',
      'kernel/drivers/net/virtio_net.ko',
      'kernel/net/failover.ko',
    ]);
  });

  it('finds a module by either spelling and whatever its compression', () => {
    assert.equal(moduleName('kernel/drivers/net/ne2k-pci.ko.xz'), 'ne2k_pci');
    assert.equal(moduleClosure(dep, ['ne2k-pci']).paths.length, 2);
    assert.equal(moduleClosure(dep, ['ne2k_pci']).paths.length, 2);
  });

  it('says which names are no modules', () => {
    assert.deepEqual(moduleClosure(dep, ['ipv6', 'failover']).unknown, ['ipv6']);
  });
});
