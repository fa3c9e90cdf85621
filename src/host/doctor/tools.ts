import { type Check, checksOf } from '../../base/check.ts';
import { findProgram } from '../../base/find-program.ts';

/** A program of the system that Shadowferry runs. The bootstrap's table installs the same ones. */
export interface Tool {
  name: string;
  /** The Debian package that has it. */
  package: string;
  why: string;
  /** The demo runs without it; `why` says with what consequence. */
  optional?: boolean;
}

export const TOOLS: readonly Tool[] = [
  { name: 'qemu-system-x86_64', package: 'qemu-system-x86', why: 'runs the virtual machines' },
  { name: 'ip', package: 'iproute2', why: 'makes the lab networks' },
  { name: 'tc', package: 'iproute2', why: 'limits the rate of lab links' },
  { name: 'bridge', package: 'iproute2', why: 'reads the bridges' },
  { name: 'unshare', package: 'util-linux', why: 'makes namespaces' },
  { name: 'nsenter', package: 'util-linux', why: 'enters namespaces' },
  { name: 'perl', package: 'perl-base', why: 'delays packets on lab links' },
  {
    name: 'nft',
    package: 'nftables',
    why: "answers for a VM that has no device, so that its peers' TCP does not back off",
    optional: true,
  },
  {
    name: 'ssh',
    package: 'openssh-client',
    why: 'reaches guests whose agent may not run programs',
    optional: true,
  },
  {
    name: 'dpkg-deb',
    package: 'dpkg',
    why: 'unpacks the packages that the guest image is made from; without it that image cannot be built',
    optional: true,
  },
];

/** Paths of the tools on this machine; undefined for what is missing. */
export function findTools(path?: string): Map<string, string | undefined> {
  return new Map(TOOLS.map(({ name }) => [name, findProgram(name, path)]));
}

/** One line for all tools that are there, one for each that is not. Pure. */
export function toolChecks(found: ReadonlyMap<string, string | undefined>): Check[] {
  const { ok, warn, missing } = checksOf('Programs');
  const present = TOOLS.filter(({ name }) => found.get(name) !== undefined);
  const checks = TOOLS.filter(({ name }) => found.get(name) === undefined).map((tool) => {
    const fix = `apt-get install --no-install-recommends ${tool.package}`;
    return (tool.optional ? warn : missing)(tool.name, `not found; it ${tool.why}`, fix);
  });
  if (present.length > 0) checks.unshift(ok('found', present.map(({ name }) => name).join(', ')));
  return checks;
}
