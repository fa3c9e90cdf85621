/** This machine as a host: its bridges are the networks, taps and rules are made where this process runs. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { findProgram } from '../../base/find-program.ts';
import { ShadowferryError } from '../../errors.ts';
import { type Host, type HostDevice, tapName } from '../host.ts';
import { type Absent, removalRules, unreachableRules } from '../unreachable.ts';

export interface LinuxHostOptions {
  name: string;
  migrationAddress: string;
  qemu: Host['qemu'];
  /** Directory of the VMs' directories; short, as socket paths are at most 107 bytes. */
  directory: string;
  /** Bridges by the name of the network that they carry. */
  networks: Readonly<Record<string, { bridge: string }>>;
  devices: readonly HostDevice[];
  diskDirectories: readonly string[];
  diskTls?: Host['diskTls'];
  /** `/sys/class/net`; tests have one of their own. */
  sysfs?: string;
  /** Runs a program; replaced by tests. */
  run?: typeof exec;
}

/** What the kernel says to who may not change its networks. */
const FORBIDDEN = /Operation not permitted|Permission denied/;

export class LinuxHost implements Host {
  readonly name: string;
  readonly migrationAddress: string;
  readonly prefix: readonly string[] = [];
  readonly qemu: Host['qemu'];
  readonly diskDirectories: readonly string[];
  readonly diskTls?: NonNullable<Host['diskTls']>;
  /** Only where nft is there. */
  readonly answerUnreachable?: NonNullable<Host['answerUnreachable']>;
  readonly #options: LinuxHostOptions;
  readonly #sysfs: string;
  readonly #run: typeof exec;

  constructor(options: LinuxHostOptions) {
    this.#options = options;
    this.#sysfs = options.sysfs ?? '/sys/class/net';
    this.#run = options.run ?? exec;
    this.name = options.name;
    this.migrationAddress = options.migrationAddress;
    this.qemu = options.qemu;
    this.diskDirectories = options.diskDirectories;
    if (options.diskTls !== undefined) this.diskTls = options.diskTls;
    if (findProgram('nft') !== undefined) this.answerUnreachable = (...about) => this.#answer(...about);
  }

  vmDirectory(vm: string): string {
    return join(this.#options.directory, vm);
  }

  devices(): readonly HostDevice[] {
    return this.#options.devices;
  }

  /** @throws NETWORK_MISSING, RIGHTS_MISSING, COMMAND_FAILED */
  async createTap(tap: string, network: string, queues = 1): Promise<void> {
    const bridge = this.#bridgeOf(network);
    await this.removeTap(tap);
    const several = queues === 1 ? [] : ['multi_queue'];
    await this.#ip(['tuntap', 'add', 'dev', tap, 'mode', 'tap', ...several]);
    try {
      // a port with a smaller MTU would make the bridge's smaller too
      const mtu = readFileSync(join(this.#sysfs, bridge, 'mtu'), 'utf8').trim();
      // without an address of its own, and started apart, as one command would start it first
      await this.#ip(['link', 'set', 'dev', tap, 'mtu', mtu, 'master', bridge, 'addrgenmode', 'none']);
      await this.#ip(['link', 'set', 'dev', tap, 'up']);
    } catch (error) {
      await this.removeTap(tap);
      throw error;
    }
  }

  async removeTap(tap: string): Promise<void> {
    if (existsSync(join(this.#sysfs, tap))) await this.#ip(['link', 'del', 'dev', tap], true);
  }

  async #answer(absent: Absent, addresses: readonly string[]): Promise<void> {
    const ports = addresses.length === 0 ? [] : this.#portsBeside(absent);
    const input = ports.length === 0 ? removalRules(absent) : unreachableRules(absent, ports, addresses);
    await this.#run(['nft', '-f', '-'], { input });
  }

  /** The ports of the NIC's bridge by which its peers' traffic comes in: all but its own taps. */
  #portsBeside({ vm, nic, network }: Absent): string[] {
    const own = [tapName(vm, nic, 'direct'), tapName(vm, nic, 'standby')];
    const ports = readdirSync(join(this.#sysfs, this.#bridgeOf(network), 'brif'));
    return ports.filter((name) => !own.includes(name)).sort();
  }

  /** @throws NETWORK_MISSING */
  #bridgeOf(network: string): string {
    const { networks, name: host } = this.#options;
    const missing = (why: string) => new ShadowferryError('NETWORK_MISSING', { network, host, why });
    const bridge = Object.hasOwn(networks, network) ? networks[network]?.bridge : undefined;
    if (bridge === undefined) {
      const known = Object.keys(networks).join(', ') || 'none';
      throw missing(`its configuration knows ${known}`);
    }
    if (existsSync(join(this.#sysfs, bridge, 'brif'))) return bridge;
    const what = existsSync(join(this.#sysfs, bridge))
      ? `"${bridge}" is no bridge`
      : `there is no bridge "${bridge}"`;
    throw missing(what);
  }

  async #ip(args: readonly string[], allowFailure = false): Promise<void> {
    const { code, stderr } = await this.#run(['ip', ...args], { allowFailure: true });
    if (code === 0 || allowFailure) return;
    if (FORBIDDEN.test(stderr)) {
      throw new ShadowferryError('RIGHTS_MISSING', {
        what: `"ip ${args.join(' ')}" (${stderr.trim()})`,
        command:
          'Run the daemon as root, or with the capability CAP_NET_ADMIN, and let it open /dev/net/tun.',
      });
    }
    throw new ShadowferryError('COMMAND_FAILED', {
      command: `ip ${args.join(' ')}`,
      code,
      stderr: stderr.trim(),
    });
  }
}
