/** A destination host without QEMU, for tests: what is on it outlives the service, as real QEMUs do. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { nowMs } from '../../base/clock.ts';
import { ShadowferryError } from '../../errors.ts';
import { SqliteOwnership } from '../../ownership/sqlite.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import type { SourcePeer } from '../protocol/destination-recovery.ts';
import { commitAttempt, type HandOver } from '../protocol/record.ts';
import { Limits } from '../request.ts';
import type { RunningVm } from '../vm.ts';
import type { IncomingTimes } from './drive.ts';
import type { HandsEvents, IncomingHands, OrderedEntry, QemuLook } from './hands.ts';
import { IncomingJournal } from './journal.ts';
import { IncomingService } from './service.ts';
import { OrderText } from './wire-model.ts';

export const QUICK: Partial<IncomingTimes> = { answer: 500, look: 10, patience: 300, refused: 50 };

export const HAND_OVER: HandOver = {
  ...{ id: 'm1', vm: 'web', source: 'alpha', destination: 'beta', epoch: 1 },
};

export function orderOf(handOver: HandOver, device = 'nic0'): OrderText {
  const direct = { device: 'own0', model: 'e1000e' };
  const nic = { id: 'net0', mac: '52:54:00:00:00:01', network: 'lan', direct, standby: 'none' as const };
  const target = { id: device, kind: 'emulated-nic' as const, model: 'vmxnet3', network: 'lan' };
  return OrderText.parse({
    handOver,
    spec: { name: handOver.vm, memoryMiB: 64, boot: { kernel: '/k' }, nics: [nic] },
    nics: [{ nic, target, model: { pciId: '15ad:07b0', modalias: 'pci:v' } }],
    capabilities: { events: true },
    limits: Limits.parse({}),
    persist: false,
  });
}

/** What stands on the machine, whoever lives. */
export class FakeMachine {
  qemu: QemuLook | undefined;
  /** How often a vCPU began to run here. */
  ran = 0;
  plugged = 0;
  settled = 0;
  taps = false;
  /** What is handed on, where a test has made one. */
  vm: RunningVm | undefined;
  /** Calls that fail, with the error. */
  readonly failing = new Map<keyof IncomingHands, () => Error>();
  readonly calls: string[] = [];
  readonly listeners = new Set<() => void>();

  /** All memory is here; the vCPUs wait. */
  load(how: 'precopy' | 'postcopy' = 'precopy'): void {
    const migration = how === 'precopy' ? 'completed' : 'postcopy-active';
    this.qemu = { status: 'paused', running: false, migration };
    this.tell();
  }

  tell(): void {
    for (const listener of this.listeners) listener();
  }
}

type Dies = { call: keyof IncomingHands; when: 'before' | 'after' };

/** Where the destination says that it takes the VM's disk. */
export const DISK_EXPORT = {
  ...{ id: 'root', host: '192.0.2.2', port: 20_001, name: 'm/root', certificate: 'beta' },
};

/** Hands of one process; dead ones do nothing and never answer. */
export class FakeHands implements IncomingHands {
  readonly machine: FakeMachine;
  readonly #ownership: OwnershipStore;
  readonly #dies: Dies | undefined;
  dead = false;
  onDeath = () => {};
  #events: HandsEvents | undefined;

  constructor(machine: FakeMachine, ownership: OwnershipStore, dies?: Dies) {
    this.machine = machine;
    this.#ownership = ownership;
    this.#dies = dies;
  }

  listen(events: HandsEvents): void {
    this.#events = events;
    this.machine.listeners.add(() => {
      if (!this.dead) events.onChange(HAND_OVER.id);
    });
  }

  async #do<T>(call: keyof IncomingHands, act: () => T | Promise<T>): Promise<T> {
    const never = new Promise<never>(() => {});
    if (this.dead) return never;
    const mine = this.#dies?.call === call;
    if (mine && this.#dies?.when === 'before') this.die();
    if (this.dead) return never;
    this.machine.calls.push(call);
    const fails = this.machine.failing.get(call);
    if (fails !== undefined) throw fails();
    const result = await act();
    if (mine) this.die();
    return this.dead ? never : result;
  }

  die(): void {
    this.dead = true;
    this.onDeath();
  }

  refusal(order: OrderText) {
    return this.#do('refusal', () =>
      order.nics.every(({ target }) => target.id === 'nic0')
        ? undefined
        : new ShadowferryError('UNKNOWN_DEVICE', { field: 'd', value: 'x', where: 'beta', allowed: 'nic0' }),
    );
  }

  reserve({ id, order }: OrderedEntry) {
    return this.#do('reserve', async () => {
      for (const { target } of order.nics)
        await this.#ownership.claimDevice({
          ...{ host: 'beta', device: target.id, vm: order.spec.name, migration: id },
        });
      this.machine.taps = true;
      this.machine.qemu = { status: 'inmigrate', running: false, migration: 'none' };
      return { uri: 'tcp:192.0.2.2:4444', exports: [DISK_EXPORT] };
    });
  }

  look() {
    return this.#do('look', () => this.machine.qemu && { ...this.machine.qemu });
  }

  continueVm(entry: OrderedEntry) {
    return this.#do('continueVm', () => {
      const { qemu } = this.machine;
      if (qemu === undefined) throw new Error('no QEMU');
      if (!qemu.running) this.machine.ran += 1;
      this.machine.qemu = { ...qemu, status: 'running', running: true };
      this.#events?.onRunning(entry.id, nowMs());
    });
  }

  pauseVm() {
    return this.#do('pauseVm', () => {
      if (this.machine.qemu) this.machine.qemu = { ...this.machine.qemu, status: 'paused', running: false };
    });
  }

  attach({ order }: OrderedEntry, _log: unknown, onCarrier: (nic: string) => void) {
    return this.#do('attach', () => {
      this.machine.plugged += 1;
      for (const { nic } of order.nics) onCarrier(nic.id);
      return { replayed: { net0: { results: [{ id: 1, rc: 0 }] } }, failed: {} };
    });
  }

  settle() {
    return this.#do('settle', () => {
      this.machine.settled += 1;
      return { nics: {} };
    });
  }

  keepClaims({ order }: OrderedEntry) {
    return this.#do('keepClaims', async () => {
      for (const { target } of order.nics)
        await this.#ownership.claimDevice({ host: 'beta', device: target.id, vm: order.spec.name });
    });
  }

  recoverCopy() {
    return this.#do('recoverCopy', () => 'tcp:192.0.2.2:5555');
  }

  remains() {
    return this.#do('remains', () => this.machine.taps || this.machine.qemu !== undefined);
  }

  discard() {
    return this.#do('discard', () => {
      this.machine.qemu = undefined;
      this.machine.taps = false;
    });
  }

  release({ id, order }: OrderedEntry) {
    return this.#do('release', async () => {
      for (const { target } of order.nics)
        await this.#ownership.releaseDevice({
          ...{ host: 'beta', device: target.id, vm: order.spec.name, migration: id },
        });
    });
  }

  claimed({ id }: OrderedEntry) {
    return this.#do('claimed', async () =>
      (await this.#ownership.claims('beta')).some(({ migration }) => migration === id),
    );
  }

  async take() {
    return this.machine.vm;
  }

  async close() {}
}

/** A machine with its store and journal, on which services live and die. */
export class World {
  readonly machine = new FakeMachine();
  readonly ownership: OwnershipStore;
  readonly published: { type: string; data: Record<string, unknown> }[] = [];
  /** What the source's daemon says when it is asked; undefined: it does not answer. */
  source: SourcePeer | undefined = undefined;
  readonly #directory: string;
  #dies: Dies | undefined;
  /** Told when the service was killed: its connections end with it. */
  onDeath = () => {};
  /** What the service has still to write. */
  readonly late: (() => void)[] = [];
  /** Takes the VM in. */
  arrived = () => {};
  journal: IncomingJournal;
  hands: FakeHands;
  service: IncomingService;

  constructor(t: { after: TestContext['after'] }, dies?: Dies) {
    this.#directory = mkdtempSync(join(tmpdir(), 'sf-incoming-'));
    this.ownership = new SqliteOwnership(join(this.#directory, 'ownership.db'));
    this.#dies = dies;
    [this.journal, this.hands, this.service] = this.#begin();
    t.after(async () => {
      await this.service.stop();
      this.journal.dispose();
      this.ownership.close();
      rmSync(this.#directory, { recursive: true });
    });
  }

  #begin(): [IncomingJournal, FakeHands, IncomingService] {
    const journal = new IncomingJournal(join(this.#directory, 'incoming.db'));
    const hands = new FakeHands(this.machine, this.ownership, this.#dies);
    this.#dies = undefined;
    const service = new IncomingService({
      ...{ host: 'beta', journal, hands, ownership: this.ownership, times: QUICK, atOnce: 2 },
      vms: {
        busy: () => null,
        exclusively: (_name, _why, act) => act(),
        incoming: () => {},
        notComing: () => {},
        arrived: () => this.arrived(),
      },
      askSource: async () => {
        if (this.source === undefined) throw new Error('nobody answers');
        return this.source;
      },
      publish: (type, data) => this.published.push({ type, data }),
      late: (_, write) => this.late.push(write),
    });
    hands.onDeath = () => {
      // the dead one's journal is closed for it; ours is another one
      journal.dispose();
      this.onDeath();
      [this.journal, this.hands, this.service] = this.#begin();
      this.service.recover();
    };
    return [journal, hands, service];
  }

  /** Kills the service and starts another one, as a daemon that was killed. */
  kill(): void {
    this.hands.die();
  }

  state(id = HAND_OVER.id): string | undefined {
    return this.journal.find(id)?.state.kind;
  }

  /** Waits until the journal says one of these. */
  async until(...kinds: string[]): Promise<string> {
    const end = Date.now() + 20_000;
    for (;;) {
      const state = this.state();
      if (state !== undefined && kinds.includes(state)) return state;
      if (Date.now() > end) throw new Error(`still "${state}" instead of ${kinds.join(' or ')}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  commit(handOver: HandOver = HAND_OVER) {
    const { attempt, expected, to } = commitAttempt(handOver);
    return this.ownership.handOver(expected, to, { attempt });
  }

  /** A coordinator that never gives up, to the end. */
  async migrate(): Promise<void> {
    await this.ownership.register('web', 'alpha');
    await this.again(() => this.service.reserve(orderOf(HAND_OVER)));
    await this.until('reserved');
    await this.again(async () => this.service.stage(HAND_OVER.id, []));
    this.machine.qemu = { status: 'inmigrate', running: false, migration: 'active' };
    this.machine.tell();
    this.machine.load();
    await this.until('ready');
    await this.commit();
    await this.again(async () => this.service.tell({ kind: 'look', handOver: HAND_OVER }));
    await this.until('settled');
  }

  /** Again, with whichever service lives then. */
  async again<T>(act: () => Promise<T>): Promise<T> {
    for (let n = 0; ; n += 1) {
      const lost = new Promise<never>((_, reject) => setTimeout(() => reject(new Error('lost')), 200));
      try {
        return await Promise.race([act(), lost]);
      } catch (error) {
        if (n > 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  }
}
