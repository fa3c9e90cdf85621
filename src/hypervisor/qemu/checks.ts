/** What `doctor` says about QEMU. Pure. */
import { type Check, checksOf } from '../../base/check.ts';
import { reasonOf } from '../../errors.ts';
import type { Accelerator } from './accelerator.ts';
import type { QemuCapabilities } from './capabilities.ts';

/** The oldest QEMU that the lab tests run with. */
const OLDEST: readonly [number, number] = [7, 2];
const INSTALL = 'apt-get install --no-install-recommends qemu-system-x86';

/** Migration capabilities without which no migration of ours works. */
const NEEDED = ['events', 'pause-before-switchover', 'return-path'];

/** Judges a QEMU that was probed. */
export function qemuChecks(qemu: QemuCapabilities, path: string, accelerator: Accelerator): Check[] {
  const { ok, warn, missing } = checksOf('QEMU');
  const { major, minor, micro } = qemu.version;
  const version = `${major}.${minor}.${micro} at ${path}`;
  const [oldMajor, oldMinor] = OLDEST;
  const old = major < oldMajor || (major === oldMajor && minor < oldMinor);
  const q35 = qemu.machines.find(({ name, alias }) => alias === 'q35' || name === 'q35');
  const lacking = NEEDED.filter((name) => !qemu.migrationCapabilities.includes(name));
  const fix = `Use QEMU ${OLDEST.join('.')} or newer.`;
  return [
    old ? warn('version', `${version}, older than any that was tried`, fix) : ok('version', version),
    accelerator.kind === 'kvm'
      ? ok('accelerator', `kvm: ${accelerator.reason}`)
      : warn(
          'accelerator',
          `tcg, so guests run more slowly: ${accelerator.reason}`,
          'For speed, use a machine (or nested virtualisation) with working KVM.',
        ),
    q35 ? ok('machine', q35.name) : missing('machine', 'it has no q35 machine', fix),
    lacking.length === 0
      ? ok('migration', `${qemu.migrationCapabilities.length} capabilities, all that are needed`)
      : missing('migration', `it lacks ${lacking.join(', ')}`, fix),
    qemu.postcopy.supported
      ? ok('post-copy', qemu.postcopy.reason)
      : warn(
          'post-copy',
          `${qemu.postcopy.reason}: memory moves by pre-copy only`,
          'It needs userfaultfd: run as root, or as root: sysctl -w vm.unprivileged_userfaultfd=1',
        ),
    qemu.netModels.length > 1
      ? ok('NIC models', qemu.netModels.map(({ name }) => name).join(', '))
      : missing('NIC models', `${qemu.netModels.length}, and a migration between models needs two`, fix),
    qemu.hasVfio
      ? ok('vfio', 'it can pass real devices to guests')
      : warn('vfio', 'it cannot pass real devices to guests', 'Use a QEMU that was built with VFIO.'),
  ];
}

/** What to say of a QEMU that could not be probed. */
export function qemuFailure(error: unknown): Check {
  return checksOf('QEMU').missing(
    'qemu',
    reasonOf(error),
    `Name a QEMU that starts, or reinstall it: ${INSTALL}`,
  );
}
