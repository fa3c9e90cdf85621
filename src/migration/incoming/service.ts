/** The destination's half of all migrations that come to this host: takes messages, and drives each to its end. */
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { Ownership } from '../../ownership/store.ts';
import { type IncomingState, incomingEnded } from '../protocol/incoming.ts';
import { PROTOCOL_MS, receive, type ToDestination } from '../protocol/messages.ts';
import type { HandOver } from '../protocol/record.ts';
import { Admission } from '../queue/admission.ts';
import type { RunningVm } from '../vm.ts';
import { Drive, type DriveDependencies, type IncomingTimes } from './drive.ts';
import type { IncomingHands, OrderedEntry } from './hands.ts';
import type { IncomingEntry, IncomingJournal } from './journal.ts';
import { Story } from './story.ts';
import type { OrderText, StagedText, Told } from './wire-model.ts';

/** The VMs of this host, as far as one that comes is about them. */
export interface IncomingVms {
  /** What is done with a VM now; null: nothing. */
  busy(name: string): string | null;
  /** Keeps others from a VM's name. @throws VM_BUSY */
  exclusively<T>(name: string, why: string, act: () => Promise<T>): Promise<T>;
  /** It is shown, and its name is taken. */
  incoming(spec: VmSpec, why?: string): void;
  /** It is what it was before. */
  notComing(name: string): void;
  /** It is this host's. Called again when more of it is known. */
  arrived(vm: RunningVm, record?: Ownership): void;
}

export interface IncomingOptions {
  host: string;
  journal: IncomingJournal;
  hands: IncomingHands;
  ownership: DriveDependencies['ownership'];
  askSource: DriveDependencies['askSource'];
  vms: IncomingVms;
  /** How many may come at once; more are told that the host is busy. */
  atOnce: number;
  publish: (type: string, data: Record<string, unknown>) => void;
  /** Writes what the disk did not take as soon as it does. @param write throws as long as it does not */
  late: (what: string, write: () => void) => void;
  times?: Partial<IncomingTimes>;
}

/** What the coordinator hears. */
export interface IncomingReport {
  state: IncomingState;
  told: Told[];
}

const TIMES: IncomingTimes = { ...PROTOCOL_MS, refused: 10_000 };

export class IncomingService {
  readonly #options: IncomingOptions;
  readonly #times: IncomingTimes;
  readonly #drives = new Map<string, Drive>();
  readonly #admission: Admission;
  /** Woken when something is told, by id. */
  readonly #waiting = new Map<string, Set<() => void>>();
  /** Cancelled before they were ordered, where the journal could not be written. */
  readonly #cancelled = new Map<string, HandOver>();
  /** How those ended whose end could not be written: a later process finds it again. */
  readonly #ends = new Map<string, IncomingState>();
  #stopping = false;

  constructor(options: IncomingOptions) {
    this.#options = options;
    this.#admission = new Admission(options.atOnce);
    this.#times = { ...TIMES, ...options.times };
    options.hands.listen({
      onChange: (id) => this.#drives.get(id)?.poke(),
      onRunning: (id, atMs) => this.#drives.get(id)?.story.tell({ kind: 'running' }, atMs),
    });
  }

  /** Takes up what an earlier process left open. Call it before anything else looks at this host's VMs. */
  recover(): void {
    for (const entry of this.#options.journal.openEntries()) {
      const { id, vm } = entry.handOver;
      this.#options.publish('incoming.recovered', { id, vm, state: entry.state.kind });
      if (this.#options.journal.isFollowed(entry)) this.#closeLate(entry);
      else if (entry.order !== undefined) this.#drive({ ...entry, order: entry.order });
    }
  }

  /**
   * One that had ended, or no other of its VM would have been taken in, and whose end was not written: nothing is done
   * about it any more. What is there of the VM belongs to the one that followed.
   */
  #closeLate(entry: IncomingEntry): void {
    const { id, state } = entry;
    const ran = state.kind === 'starting' || state.kind === 'active' || state.kind === 'attached';
    const degraded = state.kind === 'attached' && state.degraded;
    const end: IncomingState = ran ? { kind: 'settled', degraded } : { kind: 'discarded' };
    const story = this.#story(entry);
    story.state(end, 'another migration of the VM came after it had ended', false);
    this.#keepEnd(id, end, story);
  }

  /** Whether a VM is on its way here by the journal, or was not yet handed on. */
  expects(vm: string): boolean {
    return [...this.#drives.values()].some((drive) => drive.vm === vm);
  }

  /** What is under way. */
  open(): { id: string; handOver: HandOver; state: IncomingState }[] {
    return [...this.#drives].map(([id, { entry, state }]) => ({ id, handOver: entry.handOver, state }));
  }

  /**
   * Takes a VM in, or says no before anything was made. The same order may come again.
   * @throws DESTINATION_BUSY, UNKNOWN_DEVICE, INPUT_FIELD for an id that is known with another hand-over
   */
  async reserve(order: OrderText): Promise<IncomingState> {
    const { handOver } = order;
    const known = this.#known(handOver);
    if (known !== undefined) return known;
    await this.#refuse(order);
    // another request may have come while that was looked at
    const meanwhile = this.#known(handOver);
    if (meanwhile !== undefined) return meanwhile;
    const busy = this.#busy(handOver);
    if (busy !== undefined) throw busy;
    const state = receive(undefined, { kind: 'reserve' });
    const { journal } = this.#options;
    if (state === undefined) throw new ShadowferryError('INTERNAL', { why: 'a reserve has no state' });
    this.#written(() => journal.open(handOver, order, state, `ordered by host "${handOver.source}"`));
    const entry = journal.find(handOver.id);
    if (entry?.order === undefined)
      throw new ShadowferryError('INTERNAL', { why: 'the journal lost an entry' });
    this.#drive({ ...entry, order: entry.order });
    return entry.state;
  }

  /** A message of the protocol but `reserve`, whose order comes with it. @returns undefined where nothing is known */
  tell(message: ToDestination): IncomingState | undefined {
    const { kind, handOver } = message;
    const before = this.#known(handOver);
    const drive = this.#drives.get(handOver.id);
    drive?.heard();
    if (drive !== undefined) {
      if (kind === 'cancel') drive.move('cancelled', 'the coordinator goes back');
      if (kind === 'look') drive.poke();
      return drive.state;
    }
    const after = kind === 'reserve' ? before : receive(before, message);
    // a cancel that comes before its reserve: the reserve must find it
    if (after !== undefined && before === undefined) this.#remember(handOver, after);
    return after;
  }

  /** Takes what the programs in the guest will do. @throws UNKNOWN_MIGRATION */
  stage(id: string, nics: readonly StagedText[]): IncomingState {
    const drive = this.#need(id);
    this.#written(() => this.#options.journal.stage(id, nics));
    drive.staged(nics);
    drive.heard();
    return drive.state;
  }

  /**
   * What was told after a number; waits for something when there is nothing.
   * @throws UNKNOWN_MIGRATION
   */
  async report(id: string, after: number, waitMs: number): Promise<IncomingReport> {
    const drive = this.#drives.get(id);
    if (drive === undefined) {
      const { state } = this.#entry(id);
      return { state: this.#ends.get(id) ?? state, told: this.#options.journal.told(id, after) };
    }
    drive.heard();
    if (waitMs > 0 && drive.story.after(after).length === 0 && !this.#stopping) await this.#news(id, waitMs);
    drive.heard();
    return { state: drive.state, told: drive.story.after(after) };
  }

  /** The entry, for who explains. @throws UNKNOWN_MIGRATION */
  handOverOf(id: string): HandOver {
    return this.#drives.get(id)?.entry.handOver ?? this.#entry(id).handOver;
  }

  /** Stops driving; VMs run on, and what is open is taken up by the next process. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const id of this.#waiting.keys()) this.#wake(id);
    await Promise.all([...this.#drives.values()].map((drive) => drive.stop()));
    await this.#options.hands.close();
  }

  /** Settles when an incoming migration is not driven any more: for tests, and for who stops. */
  async ended(id: string): Promise<void> {
    await this.#drives.get(id)?.done;
  }

  /** @param again it was told already that somebody else works with the VM */
  #drive(entry: OrderedEntry, again = false): void {
    const { hands, ownership, askSource, vms } = this.#options;
    const { id } = entry;
    const { vm, source } = entry.handOver;
    const story = this.#story(entry);
    const begin = async () => {
      const arrived = (running: RunningVm) => vms.arrived(running);
      const drive = new Drive(entry, story, { hands, ownership, askSource, times: this.#times, arrived });
      this.#drives.set(id, drive);
      if (!['active', 'attached'].includes(entry.state.kind))
        vms.incoming(entry.order.spec, `it comes from host "${source}" by migration ${id}`);
      await drive.done;
      if (!incomingEnded(drive.state)) return; // stopped
      this.#keepEnd(id, drive.state, story);
      this.#drives.delete(id);
      this.#wake(id);
      vms.notComing(vm); // nothing, where it has come
    };
    vms.exclusively(vm, `migration ${id} from host "${source}"`, begin).catch((error: unknown) => {
      this.#drives.delete(id);
      if (this.#stopping) return;
      if (!again) this.#options.publish('incoming.failed', { id, vm, why: reasonOf(error) });
      // somebody else works with the VM: it is driven when that has ended
      setTimeout(() => this.#driveAgain(id), this.#times.look).unref();
    });
  }

  #driveAgain(id: string): void {
    if (this.#stopping) return;
    const entry = this.#options.journal.find(id);
    if (entry?.order === undefined || incomingEnded(entry.state)) return;
    this.#drive({ ...entry, order: entry.order }, true);
  }

  #story(entry: IncomingEntry): Story {
    const { id, vm } = entry.handOver;
    return new Story(
      id,
      this.#options.journal,
      (told) => this.#heard(entry, told),
      (why) => this.#options.publish('journal.unwritable', { id, vm, why }),
    );
  }

  /** An end that could not be written is known all the same, and written later. */
  #keepEnd(id: string, end: IncomingState, story: Story): void {
    if (!story.behind) return;
    this.#ends.set(id, end);
    this.#options.late(`the end of ${id} in the journal of what comes here`, () => {
      story.catchUp();
      this.#ends.delete(id);
    });
  }

  #heard({ id, handOver: { vm } }: IncomingEntry, { atMs, what }: Told): void {
    this.#wake(id);
    const { publish } = this.#options;
    const about = { id, vm, atMs };
    if (what.kind === 'state')
      publish('incoming.state', { ...about, state: what.state.kind, why: what.reason });
    else if (what.kind === 'warning') publish('incoming.warning', { ...about, text: what.text });
    else if (what.kind === 'error') publish('incoming.error', { ...about, code: what.error.code });
  }

  /** @throws INPUT_FIELD when the id is of another hand-over */
  #known(handOver: HandOver): IncomingState | undefined {
    const drive = this.#drives.get(handOver.id);
    const entry = drive?.entry ?? this.#options.journal.find(handOver.id);
    if (entry === undefined) return this.#cancelled.has(handOver.id) ? { kind: 'discarded' } : undefined;
    const { vm, source, destination, epoch } = entry.handOver;
    const same =
      vm === handOver.vm &&
      source === handOver.source &&
      destination === handOver.destination &&
      epoch === handOver.epoch;
    if (same) return drive?.state ?? this.#ends.get(handOver.id) ?? entry.state;
    const problem = `"${handOver.id}" is the id of another hand-over`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'handOver.id', problem });
  }

  async #refuse(order: OrderText): Promise<void> {
    const { host, hands } = this.#options;
    const wrong = (field: string, problem: string) => new ShadowferryError('INPUT_FIELD', { field, problem });
    const { destination, vm, source } = order.handOver;
    if (destination !== host) throw wrong('handOver.destination', `this is host "${host}"`);
    if (source === host) throw wrong('handOver.source', 'a VM does not come from where it goes');
    if (order.spec.name !== vm) throw wrong('spec.name', `the hand-over is of VM "${vm}"`);
    const busy = this.#busy(order.handOver);
    if (busy !== undefined) throw busy;
    const refusal = await hands.refusal(order);
    if (refusal !== undefined) throw refusal;
  }

  #busy({ source, vm }: HandOver): ShadowferryError | undefined {
    const { host, vms } = this.#options;
    const busy = (why: string) => new ShadowferryError('DESTINATION_BUSY', { host, why });
    if (this.#stopping) return busy('its daemon stops');
    const same = this.#openOf(vm);
    if (same !== undefined) return busy(`migration ${same} of VM "${vm}" is still under way`);
    const what = vms.busy(vm);
    if (what !== null) return busy(`VM "${vm}" is busy there: ${what}`);
    const why = this.#admission.ask({ source, vm }, this.#drives.size, Date.now());
    return why === undefined ? undefined : busy(why);
  }

  /** What is under way of a VM, driven or not: another one is taken in only when that is over. */
  #openOf(vm: string): string | undefined {
    const driven = [...this.#drives].find(([, drive]) => drive.vm === vm)?.[0];
    const open = this.#options.journal.openEntries();
    return driven ?? open.find((entry) => entry.handOver.vm === vm && !this.#ends.has(entry.id))?.id;
  }

  #written<T>(write: () => T): T {
    try {
      return write();
    } catch (error) {
      throw new ShadowferryError('JOURNAL_UNWRITABLE', { why: reasonOf(error) }, { cause: error });
    }
  }

  #remember(handOver: HandOver, state: IncomingState): void {
    const { id, vm } = handOver;
    try {
      this.#options.journal.open(handOver, undefined, state, 'cancelled before it was ordered');
    } catch (error) {
      // nothing was made here: known while we live, and later its coordinator is asked, which went back
      this.#cancelled.set(id, handOver);
      this.#options.publish('journal.unwritable', { id, vm, why: reasonOf(error) });
    }
  }

  #news(id: string, waitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting.add(resolve));
    return promise.finally(() => {
      clearTimeout(timer);
      waiting.delete(resolve);
    });
  }

  #wake(id: string): void {
    for (const resolve of this.#waiting.get(id) ?? []) resolve();
  }

  #need(id: string): Drive {
    const drive = this.#drives.get(id);
    if (drive !== undefined) return drive;
    const { state } = this.#entry(id);
    const problem = `this incoming migration has ended (${state.kind})`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'id', problem });
  }

  #entry(id: string): IncomingEntry {
    const entry = this.#options.journal.find(id);
    if (entry !== undefined) return entry;
    throw new ShadowferryError('UNKNOWN_MIGRATION', { field: 'id', value: id });
  }
}
