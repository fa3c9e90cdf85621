/**
 * The system's programs: which a task needs, which are missing, and on Debian and its kin their installation.
 * A program is looked for by its name on the PATH, not by asking dpkg, so that any distribution will do.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { BootstrapError, say } from './messages.mjs';

/**
 * @typedef {object} Program
 * @property {string} name what is run
 * @property {string} package the Debian package that has it
 * @property {string} why what it is for
 * @property {string[]} tasks the tasks that need it
 * @property {boolean} [optional] the task runs without it, with the consequence that `why` names
 */

const LAB = ['setup', 'demo', 'test', 'bench', 'faults'];

/** @type {Program[]} */
export const PROGRAMS = [
  { name: 'qemu-system-x86_64', package: 'qemu-system-x86', why: 'runs the virtual machines', tasks: LAB },
  { name: 'ip', package: 'iproute2', why: 'makes the lab networks', tasks: LAB },
  { name: 'tc', package: 'iproute2', why: 'limits the rate of lab links', tasks: LAB },
  { name: 'bridge', package: 'iproute2', why: 'reads the bridges', tasks: LAB },
  { name: 'unshare', package: 'util-linux', why: 'makes namespaces', tasks: LAB },
  { name: 'nsenter', package: 'util-linux', why: 'enters namespaces', tasks: LAB },
  { name: 'perl', package: 'perl-base', why: 'delays packets on lab links', tasks: LAB },
  {
    name: 'nft',
    package: 'nftables',
    why: "answers for a VM that has no device, so that its peers' TCP does not back off",
    tasks: LAB,
    optional: true,
  },
  {
    name: 'ssh',
    package: 'openssh-client',
    why: 'reaches guests whose agent may not run programs',
    tasks: LAB,
    optional: true,
  },
  {
    name: 'ping',
    package: 'iputils-ping',
    why: 'tries the lab networks in the tests',
    tasks: ['setup', 'test'],
  },
  {
    name: 'mmdebstrap',
    package: 'mmdebstrap',
    why: 'builds the distribution guests; without it the tests with them are skipped',
    tasks: ['setup', 'test'],
    optional: true,
  },
  {
    name: 'mke2fs',
    package: 'e2fsprogs',
    why: "makes the distribution guests' disks; without it the tests with them are skipped",
    tasks: ['setup', 'test'],
    optional: true,
  },
  {
    name: 'qemu-img',
    package: 'qemu-utils',
    why: "makes overlays of the distribution guests' disks; without it the tests with them are skipped",
    tasks: ['setup', 'test'],
    optional: true,
  },
  {
    name: 'dnsmasq',
    package: 'dnsmasq-base',
    why: "is the lab's DHCP server; without it the tests with distribution guests are skipped",
    tasks: ['setup', 'test'],
    optional: true,
  },
  {
    name: 'etcd',
    package: 'etcd-server',
    why: 'is the ownership store of several hosts in the tests; without it those are skipped',
    tasks: ['setup', 'test', 'unit', 'faults'],
    optional: true,
  },
  {
    name: 'ethtool',
    package: 'ethtool',
    why: 'tries the capture in the tests; without it that part is skipped',
    tasks: ['setup', 'test', 'unit'],
    optional: true,
  },
  {
    name: 'dash',
    package: 'dash',
    why: "runs the guest's scripts in the tests; without it those are skipped",
    tasks: ['setup', 'test', 'unit'],
    optional: true,
  },
  {
    name: 'busybox',
    package: 'busybox',
    why: "runs the guest's scripts in the tests; without it those are skipped",
    tasks: ['setup', 'test', 'unit'],
    optional: true,
  },
  { name: 'shellcheck', package: 'shellcheck', why: 'checks the shell scripts', tasks: ['setup', 'lint'] },
];

/** The PATH with the directories of system programs, which Debian leaves out for ordinary users. */
export function pathWithSystemDirs(path = process.env.PATH ?? '') {
  const dirs = path.split(delimiter).filter(Boolean);
  const extra = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'].filter(
    (d) => !dirs.includes(d),
  );
  return [...dirs, ...extra].join(delimiter);
}

/** @param {string} name @param {string} path */
function onPath(name, path) {
  return path.split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Whether an os-release file is Debian's or one of its kin's.
 * @param {string} text
 */
export function isDebianKin(text) {
  const ids = [...text.matchAll(/^ID(?:_LIKE)?=(.*)$/gm)].flatMap((match) =>
    (match[1] ?? '').replaceAll(/["']/g, '').split(/\s+/),
  );
  return ids.includes('debian') || ids.includes('ubuntu');
}

/**
 * What the machine is asked and told; replaced by tests.
 * @typedef {object} System
 * @property {(name: string) => boolean} has whether the program is on the PATH
 * @property {() => boolean} debian
 * @property {() => string[] | undefined} asRoot the words to put before a command to run it as root; undefined
 *   when this user cannot
 * @property {() => boolean} listsMissing whether apt has no lists of packages yet
 * @property {(line: string) => void} say tells the user
 * @property {(argv: string[]) => boolean} run runs a command, its output on stderr; whether it succeeded
 */

/** @type {System} */
const machine = {
  say,
  has: (name) => onPath(name, pathWithSystemDirs()),
  debian() {
    try {
      return isDebianKin(readFileSync('/etc/os-release', 'utf8')) && machine.has('apt-get');
    } catch {
      return false;
    }
  },
  asRoot() {
    if (process.getuid?.() === 0) return [];
    return spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0 ? ['sudo', '-n'] : undefined;
  },
  listsMissing() {
    try {
      return !readdirSync('/var/lib/apt/lists').some((name) => name.includes('_Packages'));
    } catch {
      return true;
    }
  },
  run([program, ...args]) {
    return spawnSync(String(program), args, { stdio: ['ignore', 2, 2] }).status === 0;
  },
};

/**
 * The programs of the table that `task` needs and the machine lacks.
 * @param {string} task
 * @param {System} [system]
 * @returns {Program[]}
 */
export function missingPrograms(task, system = machine) {
  return PROGRAMS.filter((program) => program.tasks.includes(task) && !system.has(program.name));
}

/** @param {Program[]} programs */
function packagesOf(programs) {
  return [...new Set(programs.map((program) => program.package))];
}

/** @param {Program[]} programs */
function describe(programs) {
  return programs.map((program) => `${program.name} (${program.why})`).join(', ');
}

/** @param {string[]} packages */
function installCommand(packages) {
  return `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
}

/** @param {Program[]} programs @param {boolean} debian */
function missingError(programs, debian) {
  const what = `missing on this machine: ${describe(programs)}`;
  const packages = packagesOf(programs);
  if (debian) return new BootstrapError(what, `Run: sudo ${installCommand(packages)}`);
  const fix = `Install them with this system's package manager (in Debian they are in ${packages.join(', ')}).`;
  return new BootstrapError(what, fix);
}

/**
 * Installs the packages of `programs` with apt, refreshing its lists when there are none or when it fails.
 * @param {Program[]} programs
 * @param {string[]} root words that make a command run as root
 * @param {System} system
 * @returns {BootstrapError | undefined} why it could not
 */
function install(programs, root, system) {
  const packages = packagesOf(programs);
  system.say(`installing ${packages.join(', ')} with apt, for ${describe(programs)}`);
  const options = ['-q', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Dpkg::Use-Pty=0'];
  const apt = [...root, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', ...options];
  const update = () => system.run([...apt, 'update']);
  const attempt = () => system.run([...apt, 'install', '-y', '--no-install-recommends', ...packages]);
  const refreshed = system.listsMissing();
  if (refreshed) update(); // when it fails, so does what follows, and says why
  if (attempt() || (!refreshed && update() && attempt())) return undefined;
  return new BootstrapError(
    `apt could not install ${packages.join(', ')}`,
    `apt's own words are above. When they are dealt with, run: sudo ${installCommand(packages)}`,
  );
}

/**
 * Sees to it that the programs of `task` are there. Call it under the lock.
 * @param {string} task
 * @param {{mayInstall: boolean}} options
 * @param {System} [system]
 * @throws {BootstrapError} when one that the task cannot do without is missing and stays so
 */
export function ensurePrograms(task, options, system = machine) {
  const missing = missingPrograms(task, system);
  if (missing.length === 0) return;
  const debian = system.debian();
  const root = options.mayInstall && debian ? system.asRoot() : undefined;
  const failure = root ? install(missing, root, system) : undefined;
  const still = missingPrograms(task, system);
  const required = still.filter((program) => !program.optional);
  if (required.length > 0) throw failure ?? missingError(required, debian);
  if (still.length > 0)
    system.say(`not here: ${describe(still)} (Debian packages: ${packagesOf(still).join(' ')})`);
}
