/** This host, and those that it knows of. */
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import type { MachineReport } from '../../observe/examine.ts';
import type { Examination, Host, Page } from '../api/model.ts';
import type { DaemonConfig } from '../config/model.ts';
import { Pager, pageOfArray, TextKey } from '../http/pagination.ts';

/** A look round may take so long; it takes a second, and an accelerator's time limit once. */
const LIMIT_MS = 30_000;

export type Examine = (options: { fresh: boolean; signal: AbortSignal }) => Promise<MachineReport>;

const addressText = ({ host, port }: { host: string; port: number }) =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

function examinationOf({ checks, qemu }: MachineReport, atMs: number, tookMs: number): Examination {
  const ok = checks.every(({ state }) => state !== 'missing');
  if (qemu === undefined) return { atMs, tookMs, ok, checks, qemu: null };
  const { path, capabilities, accelerator } = qemu;
  const { major, minor, micro } = capabilities.version;
  return {
    ...{ atMs, tookMs, ok, checks },
    qemu: {
      path,
      version: `${major}.${minor}.${micro}`,
      accelerator: accelerator.kind,
      acceleratorReason: accelerator.reason,
      machines: capabilities.machines.length,
      netModels: capabilities.netModels.map(({ name }) => name),
      postcopy: capabilities.postcopy.supported,
      vfio: capabilities.hasVfio,
    },
  };
}

export class HostService {
  readonly #config: Pick<DaemonConfig, 'host' | 'listen' | 'peers'>;
  readonly #examine: Examine;
  #last: Examination | undefined;
  /** The look that is under way: whoever asks meanwhile gets its answer. */
  #running: { fresh: boolean; result: Promise<Examination> } | undefined;

  constructor(config: Pick<DaemonConfig, 'host' | 'listen' | 'peers'>, examine: Examine) {
    this.#config = config;
    this.#examine = examine;
  }

  list(query: { limit: number; cursor?: string | undefined }): Page<Host> {
    return pageOfArray(new Pager('hosts', {}, TextKey), this.#all(), ({ name }) => name, query);
  }

  /** @throws UNKNOWN_HOST */
  get(name: string): Host {
    const found = this.#all().find((host) => host.name === name);
    if (found !== undefined) return found;
    const allowed = this.#all()
      .map((host) => host.name)
      .join(', ');
    throw new ShadowferryError('UNKNOWN_HOST', { field: 'host', value: name, allowed });
  }

  /**
   * Looks at this machine again. What is asked while a look is under way has its answer.
   * @throws UNKNOWN_HOST, also for another host: its own daemon looks at it
   */
  async examine(name: string, fresh: boolean): Promise<Examination> {
    if (!this.get(name).self) {
      const { host } = this.#config;
      throw new ShadowferryError('UNKNOWN_HOST', {
        field: 'host (its own daemon looks at it)',
        value: name,
        allowed: host,
      });
    }
    const running = this.#running;
    if (running !== undefined && (running.fresh || !fresh)) return running.result;
    await running?.result.catch(() => {});
    const result = this.#look(fresh);
    this.#running = { fresh, result };
    try {
      return await result;
    } finally {
      if (this.#running?.result === result) this.#running = undefined;
    }
  }

  async #look(fresh: boolean): Promise<Examination> {
    const began = Date.now();
    const report = await this.#examine({ fresh, signal: deadline('looking round this machine', LIMIT_MS) });
    this.#last = examinationOf(report, began, Date.now() - began);
    return this.#last;
  }

  #all(): Host[] {
    const { host, listen, peers } = this.#config;
    const address = listen === undefined ? null : addressText(listen.address);
    return [
      { name: host, self: true, address, examination: this.#last ?? null },
      ...peers.map((peer) => ({
        name: peer.name,
        self: false,
        address: addressText(peer.address),
        examination: null,
      })),
    ];
  }
}
