/** This host, and those that it knows of. */
import { deadline } from '../../base/deadline.ts';
import { urlHost } from '../../base/url-host.ts';
import { ShadowferryError } from '../../errors.ts';
import type { MachineReport } from '../../observe/examine.ts';
import type { Examination, Host, Page } from '../api/model.ts';
import type { DaemonConfig } from '../config/model.ts';
import { Pager, pageOfArray, TextKey } from '../http/pagination.ts';
import type { AskPresence } from './presence.ts';

/** A look round may take so long; it takes a second, and an accelerator's time limit once. */
const LIMIT_MS = 30_000;

export type Examine = (options: { fresh: boolean; signal: AbortSignal }) => Promise<MachineReport>;

export const addressText = ({ host, port }: { host: string; port: number }) => `${urlHost(host)}:${port}`;

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
  readonly #presence: AskPresence;
  #last: Examination | undefined;
  /** The look that is under way: whoever asks meanwhile gets its answer. */
  #running: { fresh: boolean; result: Promise<Examination> } | undefined;

  constructor(
    config: Pick<DaemonConfig, 'host' | 'listen' | 'peers'>,
    examine: Examine,
    presence: AskPresence = async () => undefined,
  ) {
    this.#config = config;
    this.#examine = examine;
    this.#presence = presence;
  }

  async list(query: { limit: number; cursor?: string | undefined }): Promise<Page<Host>> {
    return pageOfArray(new Pager('hosts', {}, TextKey), await this.#all(), ({ name }) => name, query);
  }

  /** @throws UNKNOWN_HOST */
  async get(name: string): Promise<Host> {
    const all = await this.#all();
    const found = all.find((host) => host.name === name);
    if (found !== undefined) return found;
    const allowed = all.map((host) => host.name).join(', ');
    throw new ShadowferryError('UNKNOWN_HOST', { field: 'host', value: name, allowed });
  }

  /**
   * Looks at this machine again. What is asked while a look is under way has its answer.
   * @throws UNKNOWN_HOST, also for another host: its own daemon looks at it
   */
  async examine(name: string, fresh: boolean): Promise<Examination> {
    if (!(await this.get(name)).self) {
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

  async #all(): Promise<Host[]> {
    const { host, listen, peers } = this.#config;
    const alive = await this.#presence();
    const seen = (name: string) => ({
      // whoever answers is alive
      alive: name === host ? true : (alive?.has(name) ?? null),
      version: alive?.get(name)?.version ?? null,
    });
    const known = [
      { name: host, self: true, address: listen === undefined ? null : addressText(listen.address) },
      ...peers.map((peer) => ({ name: peer.name, self: false, address: addressText(peer.address) })),
    ];
    // those of the store that the configuration does not name are there all the same
    const others = [...(alive?.values() ?? [])].filter(({ name }) =>
      known.every((each) => each.name !== name),
    );
    return [
      ...known,
      ...others.map(({ name, address }) => ({ name, self: false, address: address || null })),
    ].map((each) => ({
      ...each,
      ...seen(each.name),
      examination: each.self ? (this.#last ?? null) : null,
    }));
  }
}
