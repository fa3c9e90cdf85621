/** What the source's daemon sees of a migration that was left open: the facts that its decisions are made from. */
import { z } from 'zod';
import { deadline } from '../../base/deadline.ts';
import { PHASES } from '../../base/phases.ts';
import { ShadowferryError } from '../../errors.ts';
import { queryMigrate, queryStatus } from '../../hypervisor/qmp/commands.ts';
import { handOverOf } from '../history.ts';
import type { JournalMigration, JournalStep } from '../journal.ts';
import type { State } from '../machine.ts';
import { PROTOCOL_MS } from '../protocol/messages.ts';
import { type SourceView, sourceView } from '../protocol/qemu-view.ts';
import { type HandOver, type Standing, standingOf } from '../protocol/record.ts';
import type { PeerState, SourceFacts } from '../protocol/source-recovery.ts';
import { MigrationRequest } from '../request.ts';
import { isDestinationUndo } from '../undo.ts';
import { disconnectVm, findVm, type RunningVm } from '../vm.ts';
import type { RecoveryDependencies } from './model.ts';

const Phase = z.enum(PHASES);

/** `State` as the journal has it. */
export const StateText = z.discriminatedUnion('kind', [
  z.object({
    ...{ kind: z.literal('running'), phase: Phase, committed: z.boolean() },
    ...{ degraded: z.boolean(), dryRun: z.boolean() },
  }),
  z.object({ kind: z.literal('rolling-back'), from: Phase }),
  z.object({
    kind: z.literal('ended'),
    ending: z.enum(['completed', 'degraded', 'rolled-back', 'planned', 'stuck']),
  }),
]);

/** Whether a step may still have to be taken back. */
export const isOpen = ({ status, undo }: Pick<JournalStep, 'status' | 'undo'>): boolean =>
  undo.length > 0 && status !== 'undone' && status !== 'undo-failed';

/** Whether all of a step's undo is done on the destination, for which no VM is needed. */
export const isThere = ({ undo }: Pick<JournalStep, 'undo'>): boolean => undo.every(isDestinationUndo);

const MONITOR_MS = 10_000;

/** What the loop and its acts need of `Looker`. */
export type Eyes = Pick<
  Looker,
  'entry' | 'request' | 'handOver' | 'vm' | 'peerWhy' | 'state' | 'steps' | 'look' | 'find' | 'lose'
>;

/** What a migration is recovered by; it lives as long as the recovery. */
export class Looker {
  readonly entry: JournalMigration;
  readonly request: MigrationRequest | undefined;
  readonly handOver: HandOver | undefined;
  readonly #deps: RecoveryDependencies;
  /** The VM where it is on this host; found anew when its monitor is gone. */
  vm: RunningVm | undefined;
  peer: PeerState = { kind: 'unreachable' };
  /** Why the destination's daemon does not answer. */
  peerWhy = '';
  #answeredMs = performance.now();

  /** @param vm where the caller is connected to it already; QEMU's monitor takes one at a time */
  constructor(entry: JournalMigration, deps: RecoveryDependencies, vm?: RunningVm) {
    this.entry = entry;
    this.#deps = deps;
    this.vm = vm;
    this.request = MigrationRequest.safeParse(JSON.parse(entry.request)).data;
    this.handOver = handOverOf(deps.journal, entry.id)?.handOver;
  }

  get state(): State {
    const now = this.#deps.journal.find(this.entry.id) ?? this.entry;
    return StateText.parse(JSON.parse(now.state));
  }

  get steps(): JournalStep[] {
    return this.#deps.journal.steps(this.entry.id);
  }

  /** The facts, each as it was a moment ago. */
  async look(handOver: HandOver): Promise<SourceFacts> {
    const asked = handOverOf(this.#deps.journal, this.entry.id)?.asked ?? false;
    const [record, qemu, peer] = await Promise.all([
      this.record(handOver),
      this.#qemu(),
      this.#ask(handOver),
    ]);
    const over = performance.now() - this.#answeredMs > PROTOCOL_MS.patience;
    return {
      ...{ state: this.state, asked, record, qemu, peer },
      strategy: this.request?.strategy === 'precopy' || !this.#postcopy() ? 'precopy' : 'postcopy',
      device: !this.steps.some((step) => isOpen(step) && !isThere(step)),
      claims: record === 'unreachable' || (await this.#claims()),
      patienceOver: peer.kind === 'unreachable' && over,
    };
  }

  /** Whether the memory moved by post-copy, or may have. */
  #postcopy(): boolean {
    const decided = this.#deps.journal.notes(this.entry.id).filter(({ kind }) => kind === 'decision');
    return decided.some(({ text }) => text.startsWith('postcopy:'));
  }

  async record(handOver: HandOver): Promise<Standing> {
    try {
      const signal = AbortSignal.any([AbortSignal.timeout(PROTOCOL_MS.answer), this.#deps.signal]);
      return standingOf(handOver, await this.#deps.ownership.read(handOver.vm, signal));
    } catch (error) {
      this.#deps.signal.throwIfAborted();
      void error;
      return 'unreachable';
    }
  }

  async #claims(): Promise<boolean> {
    const { host, ownership, signal } = this.#deps;
    const within = deadline('the ownership store', PROTOCOL_MS.answer, signal);
    const claims = await ownership.claims(host.name, within);
    return claims.some(({ vm }) => vm === this.entry.vm);
  }

  async #ask(handOver: HandOver): Promise<PeerState> {
    const { peer, signal } = this.#deps;
    try {
      const within = AbortSignal.any([AbortSignal.timeout(PROTOCOL_MS.answer), signal]);
      const state = await peer.tell({ kind: 'ask', handOver }, within);
      this.#answeredMs = performance.now();
      this.peer = state ?? { kind: 'unknown' };
    } catch (error) {
      signal.throwIfAborted();
      this.peerWhy = error instanceof Error ? error.message : String(error);
      this.peer = { kind: 'unreachable' };
    }
    return this.peer;
  }

  /** Connects to the VM where it runs and we are not connected. */
  async find(): Promise<RunningVm | undefined> {
    if (this.vm !== undefined) return this.vm;
    const { host, signal } = this.#deps;
    try {
      this.vm = await findVm(host, this.entry.vm, deadline('the monitor of the VM', MONITOR_MS, signal));
    } catch (error) {
      if (!(error instanceof ShadowferryError && error.code === 'UNKNOWN_VM')) throw error;
    }
    return this.vm;
  }

  async #qemu(): Promise<SourceView> {
    const vm = await this.find();
    if (vm === undefined) return 'none';
    const { monitor } = vm.qemu;
    const signal = deadline('the monitor of the VM', MONITOR_MS, this.#deps.signal);
    try {
      const { status: migration } = await queryMigrate(monitor, { signal });
      return sourceView({ ...(await queryStatus(monitor, { signal })), migration });
    } catch (error) {
      // it ended, or somebody else is at its monitor: the next look will tell
      await this.lose();
      throw error;
    }
  }

  /** The connections are closed; the VM is looked for anew. */
  async lose(): Promise<void> {
    const vm = this.vm;
    this.vm = undefined;
    if (vm !== undefined) await disconnectVm(vm).catch(() => {});
  }
}
