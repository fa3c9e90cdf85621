import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import type { HandOverAttempt, HandOverOutcome, Ownership } from '../ownership/store.ts';
import { handBackSurely, handOverSurely, otherOwner } from './hand-over.ts';

const handOver = { id: 'm1', vm: 'web1', source: 'a', destination: 'b', epoch: 3 };
const refused = new ShadowferryError('NOT_OWNER', { vm: 'web1', host: 'a', owner: 'c', epoch: 9 });

/** A store that answers as it is told: the first to the hand-over, the others to the questions about it. */
class Store {
  readonly asked: string[] = [];
  readonly #first: Error | undefined;
  readonly #then: (Error | HandOverOutcome['action'])[];

  constructor(first?: Error, ...then: (Error | HandOverOutcome['action'])[]) {
    this.#first = first;
    this.#then = then;
  }

  async handOver(
    expected: Ownership,
    owner: string,
    { attempt = '' }: { attempt?: string } = {},
  ): Promise<Ownership> {
    this.asked.push(`${attempt}: ${expected.owner} ${expected.epoch} → ${owner}`);
    if (this.#first !== undefined) throw this.#first;
    return { vm: expected.vm, owner, epoch: expected.epoch + 1 };
  }

  async resolveHandOver({ attempt, expected, to }: HandOverAttempt): Promise<HandOverOutcome> {
    this.asked.push(`what of ${attempt}: ${expected.owner} ${expected.epoch} → ${to}`);
    const answer = this.#then.shift();
    if (answer === undefined || answer instanceof Error) throw answer ?? new Error('asked too often');
    return { action: answer, reason: '', record: undefined };
  }
}

function run(store: Store): { done: Promise<unknown>; waited: string[] } {
  const waited: string[] = [];
  const options = { waiting: (reason: string) => void waited.push(reason), lookMs: 1 };
  return { done: handOverSurely(store, handOver, options), waited };
}

test('a hand-over that is answered asks once, under the id of the migration', async () => {
  const store = new Store();
  await run(store).done;
  assert.deepEqual(store.asked, ['m1: a 3 → b']);
});

test('an answer that was lost is no failure when the store says that it happened', async () => {
  const store = new Store(new Error('silence'), 'committed');
  assert.deepEqual(await run(store).done, { vm: handOver.vm, owner: 'b', epoch: 4 });
  assert.deepEqual(store.asked, ['m1: a 3 → b', 'what of m1: a 3 → b']);
});

test('what did not happen is a failure only when it never can any more', async () => {
  const silence = new Error('silence');
  await assert.rejects(run(new Store(silence, 'withdrawn')).done, silence);
});

test('while the store is silent nothing is decided, and it is said why', async () => {
  const { done, waited } = run(
    new Store(new Error('silence'), new Error('down'), new Error('still down'), 'committed'),
  );
  await done;
  assert.deepEqual(waited, ['down', 'still down']);
});

test('a plain no of the store is taken at its word', async () => {
  const store = new Store(refused);
  await assert.rejects(run(store).done, refused);
  assert.equal(store.asked.length, 1);
});

test('another owner is known only from a record that was read', async () => {
  const store = (record: Ownership | undefined) => ({ read: async () => record });
  const record = { vm: 'web1', owner: 'a', epoch: 3 };
  assert.equal(await otherOwner(store(record), 'web1', 'a'), undefined);
  assert.equal(await otherOwner(store(record), 'web1', 'b'), record);
  assert.equal((await otherOwner(store(undefined), 'web1', 'a'))?.owner, 'nobody');
  const down = {
    read: async () => {
      throw new Error('down');
    },
  };
  assert.equal(await otherOwner(down, 'web1', 'b'), undefined);
});

/** A store with a record, of which some answers are lost: after it was done, or before. */
class Record_ {
  record: Ownership = { vm: 'web1', owner: 'b', epoch: 4 };
  readonly #lost: ('done' | 'not done')[];

  constructor(...lost: ('done' | 'not done')[]) {
    this.#lost = lost;
  }

  async read(): Promise<Ownership> {
    return this.record;
  }

  async handOver(expected: Ownership, owner: string): Promise<Ownership> {
    const lost = this.#lost.shift();
    if (lost === 'not done') throw new Error('silent');
    assert.deepEqual(expected, this.record);
    this.record = { ...expected, owner, epoch: expected.epoch + 1 };
    if (lost === 'done') throw new Error('silent');
    return this.record;
  }
}

test('a VM that never ran is given back once, whatever answers are lost', async () => {
  for (const lost of [[], ['done'], ['not done'], ['not done', 'done']] as const) {
    const store = new Record_(...lost);
    const waited: string[] = [];
    const options = { waiting: (reason: string) => void waited.push(reason), lookMs: 1 };
    assert.equal(await handBackSurely(store, handOver, options), true);
    assert.deepEqual(store.record, { vm: 'web1', owner: 'a', epoch: 5 });
    assert.equal(waited.length, lost.length);
  }
});

test('a record that names somebody else is not changed', async () => {
  const store = new Record_();
  store.record = { vm: 'web1', owner: 'c', epoch: 9 };
  assert.equal(await handBackSurely(store, handOver, { waiting: () => {} }), false);
  assert.deepEqual(store.record, { vm: 'web1', owner: 'c', epoch: 9 });
});
