/** Work for tests: the queue, the journal and the service are real; VMs, other hosts and the engines are not. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { ShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import type { Arrivals } from '../../migration/degraded.ts';
import { Journal } from '../../migration/journal.ts';
import { initialState, transition } from '../../migration/machine.ts';
import type { RecoverMigration } from '../../migration/recovery/model.ts';
import type { MigrationResult } from '../../migration/result.ts';
import type { RunningVm } from '../../migration/vm.ts';
import { SqliteOwnership } from '../../ownership/sqlite.ts';
import { AbilityStore } from '../../shadow/net/abilities.ts';
import { ShadowStore } from '../../shadow/store/store.ts';
import { MigrationService } from '../services/migrations.ts';
import { JournalTail } from '../services/tail.ts';
import type { VmState } from '../vms/registry.ts';
import type { Engines } from './perform.ts';
import type { Destinations, Vms, WorkOptions } from './work.ts';
import { Work } from './work.ts';

const never = async (): Promise<never> => {
  throw new Error('not in this test');
};

export class FakeVms implements Vms {
  readonly states = new Map<string, VmState>();
  readonly #busy = new Map<string, string>();
  /** What `hold` gives: nothing looks at it. */
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  has = (name: string) => this.states.has(name);
  busy = (name: string) => this.#busy.get(name) ?? null;

  get(name: string) {
    const state = this.states.get(name);
    if (state !== undefined) return { state };
    throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: name, allowed: '(there is none)' });
  }

  hold<T>(name: string, why: string, act: (vm: RunningVm) => Promise<T>): Promise<T> {
    this.get(name);
    const qemu = { spec: { name } };
    // only its host and its name are read by the fake engine
    const vm: RunningVm = Object.assign(Object.create(null), { host: this.#host, qemu });
    return this.borrow(name, why, () => act(vm));
  }

  async borrow<T>(name: string, what: string, act: () => Promise<T>): Promise<T> {
    const other = this.#busy.get(name);
    if (other !== undefined)
      throw new ShadowferryError('VM_BUSY', { vm: name, host: this.#host.name, what: other });
    this.#busy.set(name, what);
    try {
      return await act();
    } finally {
      this.#busy.delete(name);
    }
  }

  left(name: string): void {
    this.states.set(name, 'gone');
  }
}

/** What the fake engine does with a VM, in its order. */
export interface Script {
  /** The destination says that it is busy so often. */
  busy: number;
  /** Thrown before the journal has anything. */
  refuse: ShadowferryError | undefined;
  /** Thrown after it has, before it is closed: as a journal that cannot be written is. */
  breakOff: boolean;
  /** Waits for this before it hands over. */
  gate: Promise<void>;
}

export interface Rig {
  directory: string;
  work: Work;
  service: MigrationService;
  vms: FakeVms;
  ownership: SqliteOwnership;
  journal: Journal;
  tail: JournalTail;
  registry: Registry;
  events: { type: string; data: Record<string, unknown> }[];
  script: (vm: string, what: Partial<Script>) => void;
  /** Lets go of what this process has open, as its death would. */
  kill: () => void;
}

export const ASKER = { principal: 'cert:erika', key: undefined };

function resultOf(id: string, vm: string, more: Partial<MigrationResult>): MigrationResult {
  return {
    ...{ id, vm, source: 'alpha', destination: 'beta', ending: 'completed', ok: true },
    from: { model: 'e1000e', driver: 'e1000e' },
    ...{ startedAtMs: 0, totalMs: 10, blackoutMs: 4, qemuDowntimeMs: 1, memoryBytes: 1000 },
    ...{ phases: [], steps: [], marks: [], progress: [], decisions: [], warnings: [], nics: [], left: [] },
    shadow: { captured: 0, restored: [], adapted: [], lost: [] },
    ...more,
  };
}

function engines(scripts: Map<string, Partial<Script>>): Engines {
  return {
    swap: never,
    migrate: async (request, { id = '', journal, source, destination, emit, cancel, confirm, ownership }) => {
      const { vm, dryRun } = request;
      const script = scripts.get(vm) ?? {};
      if (script.refuse !== undefined) throw script.refuse;
      let state = initialState(dryRun);
      const about = { id, vm, source: source.host.name, destination: destination.name, request, state };
      journal.open(about);
      const close = (ending: 'completed' | 'rolled-back' | 'planned', more: Partial<MigrationResult>) => {
        const result = resultOf(id, vm, { ending, ok: ending !== 'rolled-back', ...more });
        journal.close(id, ending, result);
        return { result };
      };
      const back = (error: ShadowferryError) => {
        journal.note(id, 'error', `${error.code}: ${error.message}`);
        const { code, message, fix } = error;
        return close('rolled-back', { error: { code, message, fix } });
      };
      emit({ type: 'phase', atMs: 0, phase: 'preflight', reason: '' });
      if (dryRun) return close('planned', {});
      await new Promise(setImmediate);
      if ((script.busy ?? 0) > 0) {
        scripts.set(vm, { ...script, busy: (script.busy ?? 0) - 1 });
        return back(new ShadowferryError('DESTINATION_BUSY', { host: destination.name, why: 'it is full' }));
      }
      if (script.breakOff) throw new Error('database or disk is full');
      try {
        const aborted = new Promise<never>((_, reject) =>
          cancel.addEventListener('abort', () => reject(cancel.reason)),
        );
        aborted.catch(() => {});
        await Promise.race([script.gate, aborted]);
        await confirm?.();
        cancel.throwIfAborted();
      } catch {
        return back(new ShadowferryError('CANCELLED', { phase: 'copy' }));
      }
      const record = await ownership.read(vm);
      if (record !== undefined) await ownership.handOver(record, destination.name, { attempt: id });
      state = transition(state, 'committed').state;
      journal.setState(id, state, 'handed over');
      return close('completed', {});
    },
  };
}

/** Other hosts that nothing is asked of. */
export const otherHosts: Destinations = (name) => {
  if (name !== 'beta' && name !== 'gamma')
    throw new ShadowferryError('UNKNOWN_HOST', { field: 'destination', value: name, allowed: 'beta' });
  const none = { devices: never, model: never, receiving: never, places: never };
  return { name, ...none, ...{ answerUnreachable: never, reserve: never, undo: never, tell: never } };
};

/** Makes one in a directory, which may be that of one that was killed. */
export async function makeWork(
  t: { after: TestContext['after'] },
  options: {
    directory?: string;
    limits?: Partial<WorkOptions['limits']>;
    recover?: RecoverMigration;
    arrivals?: Arrivals;
  } = {},
): Promise<Rig> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'sf-work-'));
  if (options.directory === undefined) t.after(() => rmSync(directory, { recursive: true, force: true }));
  const host: Host = {
    ...{ name: 'alpha', migrationAddress: '127.0.0.1', prefix: [] },
    qemu: { binary: 'qemu', accelerator: 'tcg' },
    vmDirectory: (vm) => join(directory, vm),
    ...{ devices: () => [], createTap: never, removeTap: never },
  };
  const vms = new FakeVms(host);
  const scripts = new Map<string, Partial<Script>>();
  const ownership = new SqliteOwnership(join(directory, 'ownership.db'));
  const shadows = new ShadowStore(join(directory, 'shadows.db'));
  const paths = { journal: join(directory, 'journal.db'), queue: join(directory, 'queue.db') };
  const journal = new Journal(paths.journal);
  const events: Rig['events'] = [];
  const registry = new Registry();
  const publish = (type: string, data: Record<string, unknown>) => void events.push({ type, data });
  const work = new Work({
    ...{ host, paths, vms, destinations: otherHosts, ownership, shadows, publish, registry },
    limits: { outgoing: 2, link: 2, waiting: 50, waitingPerPrincipal: 50, ...options.limits },
    recover: options.recover ?? never,
    arrivals: options.arrivals,
    engines: engines(scripts),
    abilities: new AbilityStore(join(directory, 'abilities.json')),
    log: pino({ level: 'silent' }),
  });
  const service = new MigrationService(journal, work);
  const tail = new JournalTail(
    journal,
    publish,
    (error) => {
      throw error;
    },
    { everyMs: 3_600_000, nameOf: (entry) => work.nameOf(entry) },
  );
  let killed = false;
  const kill = () => {
    if (killed) return;
    killed = true;
    tail.stop();
    journal.dispose();
    shadows.dispose();
    ownership.close();
  };
  t.after(async () => {
    await work.stop(1000);
    kill();
  });
  const rig = { directory, work, service, vms, ownership, journal, tail, registry, events, kill };
  return { ...rig, script: (vm, what) => void scripts.set(vm, { ...scripts.get(vm), ...what }) };
}

/** Waits until a migration has ended; bounded by the test's own limit. */
export async function untilEnded({ service }: Rig, id: string) {
  for (;;) {
    const found = service.get(id);
    if (found.state === 'ended') return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A result for a recovery that took a migration back. */
export const takenBack = (id: string, vm: string) => resultOf(id, vm, { ending: 'rolled-back', ok: false });
