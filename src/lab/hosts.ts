/** The lab's hosts: each a network namespace with a bridge, seen by the engine like any other host. */
import { join } from 'node:path';
import { exec } from '../base/exec.ts';
import { findProgram } from '../base/find-program.ts';
import type { Host, HostDevice } from '../host/host.ts';
import { type Absent, removalRules, unreachableRules } from '../host/unreachable.ts';
import { ipBatch } from './network/ip.ts';
import { DEVICE, namespaceName } from './network/names.ts';
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
}

export function labHost(options: LabHostOptions): Host {
  const { lab, name, index, directory, qemu, devices } = options;
  const netns = namespaceName(lab, name);
  return {
    name,
    migrationAddress: migrationAddress(index),
    prefix: inNamespace(netns, []),
    qemu,
    vmDirectory: (vm) => join(directory, name, vm),
    devices: () => devices,
    async createTap(tap, _network, queues = 1) {
      await this.removeTap(tap);
      const several = queues === 1 ? '' : ' multi_queue';
      await ipBatch(netns, [`tuntap add dev ${tap} mode tap${several}`, ...port(tap, DEVICE.bridge)]);
    },
    ...(findProgram('nft') === undefined
      ? {}
      : {
          async answerUnreachable(absent: Absent, addresses: readonly string[]) {
            const input =
              addresses.length === 0
                ? removalRules(absent)
                : unreachableRules(absent, DEVICE.uplink, addresses);
            await exec(inNamespace(netns, ['nft', '-f', '-']), { input });
          },
        }),
    async removeTap(tap) {
      await exec(inNamespace(netns, ['ip', 'link', 'del', tap]), { allowFailure: true });
    },
  };
}
