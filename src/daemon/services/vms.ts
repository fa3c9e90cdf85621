/** VMs of this host, as the API shows and changes them. */
import { z } from 'zod';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { GuestAccessSpec } from '../../guest/access.ts';
import { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { type Override, takeOver } from '../../ownership/guard.ts';
import type { Ownership } from '../../ownership/store.ts';
import type { Page } from '../api/model.ts';
import type { AdoptRequest, ConsolePiece, Vm, VmDefinition, VmDetail } from '../api/model-vms.ts';
import type { Principal } from '../auth/principal.ts';
import { Pager, pageOfArray, TextKey } from '../http/pagination.ts';
import { adoptVm } from '../vms/adopt.ts';
import { followConsole } from '../vms/console.ts';
import type { KeptOverride } from '../vms/definitions.ts';
import { forgetVm, pauseVm, resumeVm, startVm, stopVm } from '../vms/life.ts';
import { placeOnHost } from '../vms/placing.ts';
import type { VmEntry, VmRegistry } from '../vms/registry.ts';
import type { Stopped } from '../vms/shut-down.ts';

const STORE_MS = 10_000;

interface Paging {
  limit: number;
  cursor?: string | undefined;
}

type Changed = Vm & { reason: string };

const STOPPED: Record<Stopped['how'], string> = {
  agent: 'the guest shut down, as its agent was told',
  acpi: 'the guest shut down, as ACPI told it',
  forced: 'its QEMU was ended',
  'was-not-running': 'it did not run',
};

/** The spec that a definition makes, without the models of its devices. @throws INPUT_FIELD */
export function specOf({ replace: _, ...definition }: VmDefinition): VmSpec {
  const nics = definition.nics.map(({ device, ...nic }) => ({
    ...nic,
    ...(device === undefined ? {} : { direct: { device, model: '' } }),
  }));
  const twice = (list: readonly string[]) => list.find((each, n) => list.indexOf(each) !== n);
  const refuse = (field: string, problem: string) => new ShadowferryError('INPUT_FIELD', { field, problem });
  const id = twice(nics.map((nic) => nic.id));
  if (id !== undefined) throw refuse('nics', `two of them have the id "${id}"`);
  const mac = twice(nics.map((nic) => nic.mac));
  if (mac !== undefined) throw refuse('nics', `two of them have the address ${mac}`);
  const disk = twice(definition.disks.map((each) => each.id));
  if (disk !== undefined) throw refuse('disks', `two of them have the id "${disk}"`);
  const { kernel = '', ...boot } = definition.boot;
  if (kernel === '' && definition.disks.length === 0)
    throw refuse('boot', 'there is neither a kernel nor a disk to boot from');
  if (kernel === '' && (boot.initrd !== undefined || boot.append !== ''))
    throw refuse('boot', '"initrd" and "append" are for a kernel, and there is none');
  const parsed = VmSpec.safeParse({ ...definition, boot: { kernel, ...boot }, nics });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refuse(issue?.path.join('.') || 'body', issue?.message ?? 'it is not valid');
}

export class VmService {
  readonly #registry: VmRegistry;
  readonly #startedAnew: (vm: string) => void;

  /** @param startedAnew told of a VM that was booted: it has its devices, whatever it lacked before */
  constructor(registry: VmRegistry, startedAnew: (vm: string) => void) {
    this.#registry = registry;
    this.#startedAnew = startedAnew;
  }

  list(query: Paging & { state?: Vm['state'] | undefined }): Page<Vm> {
    const { state } = query;
    const all = this.#registry.list().filter((entry) => state === undefined || entry.state === state);
    const pager = new Pager('vms', { state }, TextKey);
    const page = pageOfArray(pager, all, ({ name }) => name, query);
    return { ...page, items: page.items.map((entry) => this.#vm(entry)) };
  }

  /** @throws UNKNOWN_VM */
  get(name: string): VmDetail {
    const { definition, ...entry } = this.#registry.details(name);
    return { ...this.#vm(entry), spec: { ...entry.spec }, adopted: definition?.adopted ?? null };
  }

  /** @throws VM_EXISTS, VM_BUSY, UNKNOWN_DEVICE, INPUT_FIELD, DEVICE_CLAIMED_TWICE */
  async define(wanted: VmDefinition): Promise<VmDetail> {
    const registry = this.#registry;
    const { name } = wanted;
    const spec = placeOnHost(registry.host, specOf(wanted));
    await registry.exclusively(name, 'it is defined', async () => {
      await registry.look(name);
      if (registry.has(name)) {
        const { state } = registry.get(name);
        const idle = (state === 'stopped' || state === 'gone') && registry.connection(name) === undefined;
        if (!wanted.replace || !idle)
          throw new ShadowferryError('VM_EXISTS', { vm: name, host: registry.host.name, state });
      }
      registry.define({ spec, origin: 'defined', adopted: null });
    });
    return this.get(name);
  }

  /** @throws what `adoptVm` throws */
  async adopt(wanted: AdoptRequest): Promise<VmDetail> {
    const { guest, ...rest } = wanted;
    const access = GuestAccessSpec.safeParse(guest);
    if (!access.success) {
      const problem = access.error.issues[0]?.message ?? 'it is not valid';
      throw new ShadowferryError('INPUT_FIELD', { field: 'guest', problem });
    }
    return this.get(await adoptVm(this.#registry, { ...rest, guest: access.data }));
  }

  /** @throws FORBIDDEN for an override by one who is no administrator, and what `startVm` throws */
  async start(name: string, why: string | undefined, by: Principal | undefined): Promise<Changed> {
    const { reason } = await startVm(this.#registry, name, this.#override(why, by));
    this.#startedAnew(name);
    return this.#changed(name, reason);
  }

  /** @throws what `stopVm` throws */
  async stop(name: string, options: { force: boolean; waitSeconds: number }): Promise<Changed> {
    const { force, waitSeconds } = options;
    const { how, why } = await stopVm(this.#registry, name, { force, waitMs: waitSeconds * 1000 });
    return this.#changed(name, `${STOPPED[how]}: ${why}`);
  }

  async pause(name: string): Promise<Changed> {
    await pauseVm(this.#registry, name);
    return this.#changed(name, 'it was asked for');
  }

  async resume(name: string, why: string | undefined, by: Principal | undefined): Promise<Changed> {
    const { reason } = await resumeVm(this.#registry, name, this.#override(why, by));
    return this.#changed(name, reason);
  }

  async forget(name: string): Promise<{ vm: string; record: 'forgotten' | 'kept'; why: string }> {
    return { vm: name, ...(await forgetVm(this.#registry, name)) };
  }

  /**
   * The record of a VM is moved here from a host that is dead for certain. Nothing is started.
   * @throws INPUT_FIELD when nobody owns it, NOT_OWNER when another was faster, HANDOVER_UNKNOWN, errors of the store
   */
  async takeOver(name: string, why: string, by: Principal | undefined): Promise<Ownership> {
    const { ownership, host } = this.#registry;
    return this.#registry.exclusively(name, 'it is taken over', async () => {
      const override = this.#overrideOf(why, by);
      const options = { signal: deadline('the ownership store', STORE_MS) };
      const record = await takeOver(ownership, name, host.name, override, options);
      this.#registry.owned(record);
      return record;
    });
  }

  overrides(query: Paging): Page<KeptOverride> {
    const pager = new Pager('overrides', {}, z.tuple([z.number()]));
    const found = this.#registry.definitions.overrides(query.limit + 1, pager.after(query.cursor)?.[0]);
    return pager.page(found, query.limit, ({ seq }) => [seq]);
  }

  /** @throws UNKNOWN_VM */
  async console(
    name: string,
    query: { from?: number | undefined; bytes: number; waitSeconds: number },
  ): Promise<ConsolePiece> {
    const { waitSeconds, ...piece } = query;
    return { vm: name, ...(await followConsole(this.#registry, name, piece, waitSeconds * 1000)) };
  }

  #override(why: string | undefined, by: Principal | undefined): Override | undefined {
    if (why === undefined) return undefined;
    if (by !== undefined && by.role !== 'admin') {
      const { name, role } = by;
      throw new ShadowferryError('FORBIDDEN', { principal: name, role, needed: 'admin' });
    }
    return this.#overrideOf(why, by);
  }

  #overrideOf(why: string, by: Principal | undefined): Override {
    const audit: Override['audit'] = async (note) => this.#registry.definitions.writeOverride(note);
    return { by: by?.name ?? 'unknown', why, audit };
  }

  #changed(name: string, reason: string): Changed {
    const { definition: _, ...entry } = this.#registry.details(name);
    return { ...this.#vm(entry), reason };
  }

  #vm({ name, spec, state, why, pid, epoch }: VmEntry): Vm {
    const { memoryMiB, cpus, machine } = spec;
    const { busy, definition } = this.#registry.details(name);
    return {
      ...{
        name,
        host: this.#registry.host.name,
        state,
        why: why ?? null,
        busy,
        pid,
        epoch,
        memoryMiB,
        cpus,
        machine,
      },
      origin: definition?.origin ?? null,
      nics: spec.nics.map(({ id, mac, network, direct, standby }) => ({
        ...{ id, mac, network, standby, device: direct?.device ?? null, model: direct?.model ?? null },
      })),
      definedMs: definition?.madeMs ?? null,
    };
  }
}
