/** The lab's hosts: each a network namespace with a bridge, seen by the engine like any other host. */
import { join } from 'node:path';
import { exec } from '../base/exec.ts';
import { findProgram } from '../base/find-program.ts';
import { ShadowferryError } from '../errors.ts';
import type { Host, HostDevice } from '../host/host.ts';
import { type Absent, removalRules, unreachableRules } from '../host/unreachable.ts';
import { ipBatch } from './network/ip.ts';
import { namespaceName, OUTSIDE, segment } from './network/names.ts';
import { inNamespace } from './network/network.ts';
import { migrationAddress, port } from './network/topology.ts';

export interface LabHostOptions {
  lab: string;
  name: string;
  /** Position among the lab's hosts; decides its address. */
  index: number;
  /** Directory for the sockets of its VMs; short, as socket paths are at most 107 bytes. */
  directory: string;
  qemu: Host['qemu'];
  devices: readonly HostDevice[];
  /** Names of the networks that VMs are on, in the order of their numbers. */
  networks: readonly string[];
  /** Of taps, bytes. */
  mtu: number;
}

export function labHost(options: LabHostOptions): Host {
  const { lab, name, index, directory, qemu, devices, networks, mtu } = options;
  const segmentOf = (network: string) => {
    const n = networks.indexOf(network);
    if (n >= 0) return segment(n);
    const allowed = networks.join(', ');
    throw new ShadowferryError('INPUT_FIELD', {
      field: 'network',
      problem: `host "${name}" is not on network "${network}", but on ${allowed}`,
    });
  };
  const netns = namespaceName(lab, name);
  return {
    name,
    migrationAddress: migrationAddress(index),
    prefix: inNamespace(netns, []),
    guestPrefix: inNamespace(namespaceName(lab, OUTSIDE), []),
    qemu,
    vmDirectory: (vm) => join(directory, name, vm),
    devices: () => devices,
    async createTap(tap, network, queues = 1) {
      const { bridge } = segmentOf(network);
      await this.removeTap(tap);
      const several = queues === 1 ? '' : ' multi_queue';
      await ipBatch(netns, [
        `tuntap add dev ${tap} mode tap${several}`,
        `link set dev ${tap} mtu ${mtu}`,
        ...port(tap, bridge),
      ]);
    },
    ...(findProgram('nft') === undefined
      ? {}
      : {
          async answerUnreachable(absent: Absent, addresses: readonly string[]) {
            const input =
              addresses.length === 0
                ? removalRules(absent)
                : unreachableRules(absent, [segmentOf(absent.network).uplink], addresses);
            await exec(inNamespace(netns, ['nft', '-f', '-']), { input });
          },
        }),
    async removeTap(tap) {
      await exec(inNamespace(netns, ['ip', 'link', 'del', tap]), { allowFailure: true });
    },
  };
}
