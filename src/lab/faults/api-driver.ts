/** Drives the daemons of the lab by their API, as any user could. */
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deadline } from '../../base/deadline.ts';
import { API } from '../../daemon/api/contract.ts';
import { MIGRATION_CALLS } from '../../daemon/api/contract-migrations.ts';
import { ShadowferryError } from '../../errors.ts';
import { VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { LabDaemons } from '../daemons.ts';
import { guestSetup } from '../guest-setup.ts';
import type { GuestImage } from '../image/image.ts';
import { guestKernelArgs } from '../image/kernel-args.ts';
import { READY_LINE, SETUP_FW_CFG } from '../image/services.ts';
import { LAB_HOSTS, NETWORK } from '../lab.ts';
import type { Way } from './cases.ts';
import type { Asked, Driver } from './driver.ts';
import type { HostName, Observation } from './observation.ts';

const MAC = '52:54:00:5f:00:10';
/** The image does not boot with much less: its kernel and its files are in memory twice for a while. */
const MEMORY_MIB = 192;
const BOOT_MS = 120_000;
/** Shorter than what a user has: a lab that waits long for what cannot come tries few cases. */
const LIMITS = { agentMs: 8000, attachMs: 10_000, attachTries: 2, stallMs: 4000, unplugMs: 8000 };
const ATTACH_MS = 20_000;

export interface DriverOptions {
  image: GuestImage;
  vm: string;
  /** Disks of the VM, under the same path on both hosts. */
  disks?: VmSpec['disks'];
}

export class ApiDriver implements Driver {
  readonly vms = 'vms';
  readonly #lab: LabDaemons;
  readonly #options: DriverOptions;

  constructor(lab: LabDaemons, options: DriverOptions) {
    this.#lab = lab;
    this.#options = options;
  }

  #client(host: HostName) {
    return this.#lab.daemons[host].client;
  }

  /** @throws what the daemon answers; DEADLINE when the guest does not come up */
  async startVm(host: HostName): Promise<VmSpec> {
    const { image, vm, disks = [] } = this.#options;
    const setup = join(this.#lab.directory, `setup-${vm}.sh`);
    writeFileSync(setup, guestSetup({ mac: MAC }));
    const body = {
      ...{ name: vm, memoryMiB: MEMORY_MIB, replace: true, disks },
      boot: { kernel: image.kernel, initrd: image.initrd, append: guestKernelArgs() },
      firmwareFiles: [{ name: SETUP_FW_CFG, path: setup }],
      nics: [{ id: 'net0', mac: MAC, network: NETWORK, device: 'nic0', standby: 'virtio' as const }],
    };
    const params = { vm };
    const client = this.#client(host);
    const { spec } = await client.call(API.defineVm, { params: {}, query: {}, body });
    await client.call(API.startVm, { params, query: {}, body: {} });
    const signal = deadline('booting the guest', BOOT_MS);
    let from = 0;
    for (let said = ''; !said.includes(READY_LINE); ) {
      signal.throwIfAborted();
      const { text, next } = await client.call(
        API.readConsole,
        { params, query: { from, waitSeconds: 5 } },
        { signal },
      );
      said += text;
      from = next;
    }
    return VmSpec.parse(spec);
  }

  async clearVm(): Promise<void> {
    const params = { vm: this.#options.vm };
    for (const host of LAB_HOSTS) {
      try {
        await this.#client(host).call(API.stopVm, { params, query: {}, body: { force: true } });
      } catch (error) {
        if (!(error instanceof ShadowferryError) || !/UNKNOWN_VM|VM_STATE|INPUT/.test(error.code))
          throw error;
      }
    }
    // the host that the record names forgets the record too, so it comes last where it can
    for (const host of [...LAB_HOSTS, ...LAB_HOSTS]) {
      await this.#client(host)
        .call(API.forgetVm, { params, query: {} })
        .catch(() => {}); // what is left is seen by who defines it anew
    }
  }

  async migrate({ source, destination, way }: Asked): Promise<string> {
    const { vm } = this.#options;
    const strategy: Way = way;
    const body = { vm, destination, strategy, limits: LIMITS };
    const input = { params: {}, query: {}, body };
    const made = await this.#client(source).call(MIGRATION_CALLS.submitMigration, input, {
      idempotencyKey: randomUUID(),
    });
    return made.id;
  }

  async ending(source: HostName, id: string): Promise<string | null | undefined> {
    try {
      return (await this.#client(source).call(API.getMigration, { params: { id }, query: {} })).ending;
    } catch {
      return undefined;
    }
  }

  async explain(source: HostName, id: string): Promise<Observation['explanation']> {
    try {
      const told = await this.#client(source).call(API.explainMigration, { params: { id }, query: {} });
      return { summary: told.summary, lines: told.lines.length, advice: told.advice };
    } catch {
      return undefined;
    }
  }

  async attach(host: HostName): Promise<void> {
    const params = { vm: this.#options.vm };
    await this.#client(host).call(MIGRATION_CALLS.attachDevices, {
      params,
      query: {},
      body: { attachMs: ATTACH_MS },
    });
  }
}
