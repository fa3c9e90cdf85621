/**
 * Takes one incoming migration to its end: looks, lets the table decide, acts, looks again. After a crash the same code
 * goes on from what the journal, the record and QEMU say; there is no other way through it.
 */

import { deadline } from '../../base/deadline.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { reasonOf, ShadowferryError, toShadowferryError } from '../../errors.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import {
  type DestinationDecision,
  type DestinationFacts,
  recoverDestination,
  type SourcePeer,
} from '../protocol/destination-recovery.ts';
import {
  type IncomingEvent,
  type IncomingState,
  incomingEnded,
  incomingTransition,
} from '../protocol/incoming.ts';
import { type DestinationView, destinationView, memoryView } from '../protocol/qemu-view.ts';
import {
  commitAttempt,
  type HandOver,
  returnAttempt,
  type Standing,
  standingOf,
} from '../protocol/record.ts';
import type { RunningVm } from '../vm.ts';
import { errorText } from './error-text.ts';
import type { IncomingHands, OrderedEntry, QemuLook } from './hands.ts';
import type { Story } from './story.ts';
import type { StagedText } from './wire-model.ts';

/** Waits of the destination's half, ms; none of them decides by itself. */
export interface IncomingTimes {
  /** For an answer of the store or of the other daemon. */
  answer: number;
  /** Between two looks. */
  look: number;
  /** Without a word of the coordinator, until it wants to go back. */
  patience: number;
  /** A QEMU that refuses to run the VM for so long does not run it. */
  refused: number;
}

export interface DriveDependencies {
  hands: IncomingHands;
  ownership: Pick<OwnershipStore, 'read' | 'handOver' | 'resolveHandOver'>;
  /** Asks the source's daemon about its half. @throws when there is no answer */
  askSource: (handOver: HandOver, signal: AbortSignal) => Promise<SourcePeer>;
  times: IncomingTimes;
  /** The VM runs here by right; the connections are the receiver's. May be called again. @throws what its disk says */
  arrived: (vm: RunningVm) => void;
}

/** From here on something depends on the state being on disk: the vote, and the leave to run. */
const MUST: readonly IncomingState['kind'][] = ['ready', 'starting'];
/** Between two looks at a QEMU that says nothing when it has loaded all, ms. */
const SOON_MS = 5;
/** After something did not work, ms; twice as long each time, up to `look`. */
const AGAIN_MS = 20;

interface Seen {
  facts: DestinationFacts;
  /** It is worth to look again at once. */
  soon: boolean;
}

export class Drive {
  readonly story: Story;
  readonly #entry: OrderedEntry;
  readonly #deps: DriveDependencies;
  #state: IncomingState;
  #staged: readonly StagedText[];
  #stopped = new AbortController();
  /** Aborted when the state is another one than that which an act began in. */
  #changed = new AbortController();
  #poked = Promise.withResolvers<void>();
  #heardMs = performance.now();
  #answeredMs = performance.now();
  #refusedMs: number | undefined;
  /** Whether QEMU was told to run the VM; an earlier process may have done so. */
  #told: boolean;
  #listening = false;
  #taken = false;
  #record: { standing: Standing; atMs: number } | undefined;
  #last = '';
  #again = AGAIN_MS;
  #warned = new Set<string>();
  /** Settles when the migration has ended here, or the service was stopped. */
  readonly done: Promise<void>;

  constructor(entry: OrderedEntry, story: Story, deps: DriveDependencies) {
    this.#entry = entry;
    this.#state = entry.state;
    this.#staged = entry.staged;
    this.#told = entry.state.kind === 'starting';
    this.story = story;
    this.#deps = deps;
    this.done = this.#run();
  }

  get state(): IncomingState {
    return this.#state;
  }

  get vm(): string {
    return this.#entry.handOver.vm;
  }

  /** The entry as it is now. */
  get entry(): OrderedEntry {
    return { ...this.#entry, state: this.#state, staged: this.#staged };
  }

  /** The coordinator has said something. */
  heard(): void {
    this.#heardMs = performance.now();
  }

  /** It is worth to look now. */
  poke(): void {
    this.#poked.resolve();
  }

  staged(nics: readonly StagedText[]): void {
    this.#staged = nics;
  }

  /**
   * Takes an event to the table, and its state to the disk before anybody acts on it.
   * @throws JOURNAL_UNWRITABLE where something would depend on what cannot be written
   */
  move(event: IncomingEvent, reason: string): void {
    const next = incomingTransition(this.#state, event);
    if (next === this.#state) return;
    const must = MUST.includes(next.kind);
    try {
      this.story.state(next, reason, must);
    } catch (error) {
      throw new ShadowferryError('JOURNAL_UNWRITABLE', { why: reasonOf(error) }, { cause: error });
    }
    this.#state = next;
    this.#changed.abort();
    this.#changed = new AbortController();
    this.poke();
  }

  /** Stops driving; nothing is done to the VM. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#changed.abort();
    this.poke();
    await this.done;
  }

  async #run(): Promise<void> {
    while (!this.#stopped.signal.aborted && !incomingEnded(this.#state)) {
      this.#poked = Promise.withResolvers<void>();
      try {
        const state = this.#state;
        const { facts, soon } = await this.#look();
        // a message came meanwhile: what was seen is not what there is to decide about
        if (state !== this.#state || this.#stopped.signal.aborted) continue;
        const decision = recoverDestination(facts);
        await this.#pause(decision, soon);
        if (decision.action !== 'wait' && state === this.#state && !this.#stopped.signal.aborted)
          await this.#act(decision);
      } catch (error) {
        this.#warn(reasonOf(error));
        await this.#rest(this.#deps.times.look);
      }
    }
  }

  /** Waits where the table says so, and before what was tried already is tried again. */
  async #pause(decision: DestinationDecision, soon: boolean): Promise<void> {
    const { look } = this.#deps.times;
    const key = decision.action === 'note' ? `${decision.action} ${decision.event}` : decision.action;
    const repeated = key === this.#last;
    this.#last = key;
    if (decision.action === 'wait') return this.#rest(soon ? SOON_MS : look);
    // what is seen once may be on its way to be another
    if (decision.action === 'ask-operator' && repeated) this.#warn(`needs an operator: ${decision.reason}`);
    if (!repeated) {
      this.#again = AGAIN_MS;
      return;
    }
    await this.#rest(this.#again);
    this.#again = Math.min(this.#again * 2, look);
  }

  /** Until something happens, at most so long. */
  async #rest(ms: number): Promise<void> {
    const over = new AbortController();
    const timer = pauseFor(ms, over.signal);
    await Promise.race([this.#poked.promise, timer]);
    over.abort();
  }

  #warn(text: string): void {
    if (this.#warned.has(text)) return;
    this.#warned.add(text);
    this.story.tell({ kind: 'warning', text });
  }

  async #look(): Promise<Seen> {
    const entry = this.entry;
    const { kind } = this.#state;
    const [record, qemu] = await Promise.all([this.#standing(), this.#deps.hands.look(entry)]);
    const view = await this.#view(qemu);
    const memory = memoryView(qemu?.migration ?? 'none');
    if (memory !== 'severed') this.#listening = false; // it came, and may break again
    const claims =
      kind === 'reserving' || kind === 'discarding'
        ? await this.#deps.hands.claimed(entry).catch(() => kind === 'discarding')
        : true;
    const needsPages = (kind === 'active' || kind === 'attached') && memory !== 'whole';
    const { peer, patienceOver } = await this.#peer(needsPages && this.#last === 'wait');
    const startRefused =
      this.#refusedMs !== undefined && performance.now() - this.#refusedMs >= this.#deps.times.refused;
    const device = this.story.last('attached') !== undefined;
    const facts = {
      ...{ state: this.#state, record, qemu: view, memory, device, claims },
      ...{ peer, patienceOver, startRefused, neverRan: kind === 'starting' && !this.#told },
    };
    const soon = view === 'receiving' && qemu?.migration === 'postcopy-active';
    return { facts, soon };
  }

  async #view(qemu: QemuLook | undefined): Promise<DestinationView> {
    const { kind } = this.#state;
    // taps and files are taken back with it, also when it ended by itself
    if (qemu === undefined && (kind === 'discarding' || kind === 'returning'))
      return (await this.#deps.hands.remains(this.entry)) ? 'stopped' : 'none';
    // what an earlier process had begun to make, and nobody knows how far it came, is made anew
    if (kind === 'reserving' && this.story.last('listening') === undefined) return 'none';
    return destinationView(qemu);
  }

  async #standing(): Promise<Standing> {
    const { ownership, times } = this.#deps;
    const now = performance.now();
    const { kind } = this.#state;
    const seen = this.#record;
    // once it names us only we change it, or an operator: not asked again on the way from the commit to the attach
    const owned = kind === 'starting' || kind === 'active' || kind === 'attached';
    if (owned && seen?.standing === 'committed' && now - seen.atMs < times.look) return seen.standing;
    const { handOver } = this.#entry;
    let standing: Standing;
    try {
      standing = standingOf(
        handOver,
        await ownership.read(
          handOver.vm,
          deadline('the ownership store', times.answer, this.#stopped.signal),
        ),
      );
    } catch (error) {
      this.#warn(`the ownership store: ${reasonOf(error)}`);
      standing = 'unreachable';
    }
    this.#record = { standing, atMs: now };
    return standing;
  }

  /** What the coordinator says; it is asked only where it has been silent, or where more is to be known than that it lives. */
  async #peer(ask: boolean): Promise<Pick<DestinationFacts, 'peer' | 'patienceOver'>> {
    const { times, askSource } = this.#deps;
    const committed = ['starting', 'active', 'attached', 'settled'].includes(this.#state.kind);
    const silent = performance.now() - this.#heardMs > 3 * times.look;
    if (!silent && !ask) return { peer: committed ? 'committed' : 'before', patienceOver: false };
    try {
      const signal = deadline('the daemon of the source', times.answer, this.#changed.signal);
      const peer = await askSource(this.#entry.handOver, signal);
      this.#answeredMs = performance.now();
      return { peer, patienceOver: false };
    } catch (error) {
      this.#warn(`the source: ${reasonOf(error)}`);
      const quiet = performance.now() - Math.max(this.#heardMs, this.#answeredMs);
      return { peer: 'unreachable', patienceOver: quiet > times.patience };
    }
  }

  async #act(decision: DestinationDecision): Promise<void> {
    const { hands, ownership } = this.#deps;
    const { handOver } = this.#entry;
    const signal = () => deadline('the ownership store', this.#deps.times.answer, this.#stopped.signal);
    switch (decision.action) {
      case 'none':
      case 'wait':
      case 'ask-operator':
        return;
      case 'note':
        return this.#note(decision.event, decision.reason);
      case 'reserve':
        return this.#reserve();
      case 'continue-vm':
        return this.#continueVm();
      case 'attach':
        return this.#attach();
      case 'recover-copy':
        return this.#recoverCopy();
      case 'refuse-hand-over':
        await ownership.resolveHandOver(commitAttempt(handOver), signal());
        return;
      case 'hand-back': {
        const { attempt, expected, to } = returnAttempt(handOver);
        await ownership.handOver(expected, to, { attempt, signal: signal() });
        return;
      }
      case 'discard-vm':
        return hands.discard(this.entry);
      case 'release':
        return hands.release(this.entry);
      case 'pause-vm':
        this.#warn(decision.reason);
        return hands.pauseVm(this.entry);
      default:
        return decision satisfies never;
    }
  }

  async #note(event: IncomingEvent, reason: string): Promise<void> {
    if (event === 'whole') await this.#settle();
    // it was this host's VM when it ended: the claims are its own, and no migration holds them any more
    if (event === 'qemu-gone') await this.#deps.hands.keepClaims(this.entry);
    try {
      this.move(event, reason);
    } catch (error) {
      const told = toShadowferryError(error);
      this.story.tell({ kind: 'error', error: errorText(told) });
      // no vCPU has run, and none may while that is not on disk: the source has all of the VM
      if (event === 'owned') this.move('cannot-start', told.message);
      else if (event === 'loaded') this.move('failed', told.message);
      else throw error;
    }
  }

  async #reserve(): Promise<void> {
    const cancel = this.#changed.signal;
    const { state } = this;
    try {
      const listening = await this.#deps.hands.reserve(this.entry, this.story.log(), cancel);
      if (state === this.#state)
        this.story.tell({ kind: 'listening', uri: listening.uri, exports: [...listening.exports] });
    } catch (error) {
      if (state !== this.#state || this.#stopped.signal.aborted) return;
      const known = toShadowferryError(error);
      this.story.tell({ kind: 'error', error: errorText(known) });
      this.move('failed', known.message);
    }
  }

  async #continueVm(): Promise<void> {
    this.#told = true;
    try {
      await this.#deps.hands.continueVm(this.entry);
      this.#refusedMs = undefined;
    } catch (error) {
      // the source may hold the locks of the disks for a moment more
      this.#refusedMs ??= performance.now();
      this.#warn(`QEMU does not let the VM run: ${reasonOf(error)}`);
    }
  }

  async #attach(): Promise<void> {
    const { hands } = this.#deps;
    try {
      const attached = await hands.attach(this.entry, this.story.log(), (nic) =>
        this.story.tell({ kind: 'carrier', nic }),
      );
      this.story.tell({ kind: 'attached', attached });
      const failed = Object.keys(attached.failed);
      if (failed.length > 0) this.move('attach-failed', `without the device of ${failed.join(', ')}`);
      else this.move('attached', 'the VM has its device');
    } catch (error) {
      if (this.#stopped.signal.aborted || (await hands.look(this.entry)) === undefined) return;
      const known = errorText(toShadowferryError(error));
      const failed = Object.fromEntries(this.#entry.order.nics.map(({ nic }) => [nic.id, known]));
      this.story.tell({ kind: 'attached', attached: { replayed: {}, failed } });
      this.move('attach-failed', reasonOf(error));
    }
  }

  async #recoverCopy(): Promise<void> {
    if (this.#listening) return;
    const uri = await this.#deps.hands.recoverCopy(this.entry);
    this.#listening = true;
    this.story.tell({ kind: 'listening', uri, exports: [] });
  }

  /** All that needs the guest and the store, before the coordinator is told that we need it no more. */
  async #settle(): Promise<void> {
    const { hands } = this.#deps;
    await this.#handOn();
    const attached = this.story.last('attached')?.attached ?? { replayed: {}, failed: {} };
    if (this.story.last('settled') === undefined) {
      try {
        const settled = await hands.settle(this.entry, this.story.log(), attached);
        this.story.tell({ kind: 'settled', settled });
      } catch (error) {
        if (this.#stopped.signal.aborted || (await hands.look(this.entry)) === undefined) throw error;
        const known = toShadowferryError(error);
        this.story.tell({ kind: 'settled', settled: { nics: {}, error: errorText(known) } });
      }
    }
    await hands.keepClaims(this.entry);
  }

  /**
   * The VM is this host's now. Waits for the disk, so it is not done while traffic waits, and is tried again where that is
   * full: what follows needs it too.
   */
  async #handOn(): Promise<void> {
    if (this.#taken) return;
    const vm = await this.#deps.hands.take(this.entry);
    if (vm === undefined) return;
    this.#deps.arrived(vm);
    this.#taken = true;
  }
}
