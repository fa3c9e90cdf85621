/** Whatever comes, and however long each takes: limits are kept, nobody starves, all is done in the end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Admission } from './admission.ts';
import { type BusyJob, Clock, inOrder, survey, type WaitingJob } from './queue.ts';

const RUNS = process.env.SHADOWFERRY_LONG === undefined ? 300 : 5000;
const PRINCIPALS = ['ann', 'bob', 'cyd'] as const;
const VMS = ['a', 'b', 'c', 'd', 'e'] as const;

interface Asked {
  principal: string;
  vm: string;
  destination: string;
  /** Steps that it takes. */
  steps: number;
  /** How often it is put back before it goes through. */
  putBack: number;
}

const asked: fc.Arbitrary<Asked> = fc.record({
  principal: fc.constantFrom(...PRINCIPALS),
  vm: fc.constantFrom(...VMS),
  destination: fc.constantFrom('alpha', 'beta', 'gamma'),
  steps: fc.integer({ min: 1, max: 4 }),
  putBack: fc.constantFrom(0, 0, 0, 1, 2),
});

interface Tracked extends WaitingJob {
  asked: Asked;
  /** Jobs that stood before it in the queue when it came. */
  before: number;
  /** Jobs that came after it and began before it, though they were in its way. */
  overtaken: number;
}

/** One host's queue over time; `rounds` are what comes in each step. */
class Simulation {
  readonly #limits: { outgoing: number; link: number };
  readonly #clock = new Clock();
  waiting: Tracked[] = [];
  running: (BusyJob & { left: number; job: Tracked })[] = [];
  begun: Tracked[] = [];
  #seq = 0;
  #now = 0;

  constructor(limits: { outgoing: number; link: number }) {
    this.#limits = limits;
  }

  add(one: Asked): void {
    const { principal, vm, destination } = one;
    this.#seq += 1;
    const about = { id: `m${this.#seq}`, principal, vm, source: 'alpha', destination, seq: this.#seq };
    const turn = this.#clock.next(this.waiting, about);
    const job = { ...about, ...turn, notBeforeMs: 0, asked: one, overtaken: 0 };
    this.waiting.push({ ...job, before: this.waiting.length });
  }

  step(): void {
    this.#now += 1;
    for (const each of this.running) each.left -= 1;
    for (const { job } of this.running.filter(({ left, job }) => left <= 0 && job.asked.putBack > 0)) {
      const again = { ...job, asked: { ...job.asked, putBack: job.asked.putBack - 1 } };
      this.waiting.push({ ...again, notBeforeMs: this.#now + 1, putBack: 'busy' });
    }
    this.running = this.running.filter(({ left }) => left > 0);
    const { waiting, running } = this;
    const { start, places } = survey(
      { nowMs: this.#now, waiting, running, blocked: () => undefined },
      this.#limits,
    );
    assert.equal(start.length + places.length, waiting.length, 'each job begins or has a place');
    assert.equal(new Set([...start, ...places].map(({ id }) => id)).size, waiting.length);
    for (const { id } of start) this.#begin(id);
    this.#check();
    const free = this.#limits.outgoing - this.running.filter(this.#moves).length;
    assert.ok(this.running.length > 0 || free === 0 || this.#onlyLater(), 'something begins while it can');
  }

  #moves = ({ source, destination }: BusyJob) => source !== destination;
  /** Of each VM that is to be tried again, the first decides for all. */
  #onlyLater = () =>
    this.waiting.every(({ vm }) =>
      this.waiting.some((first) => first.vm === vm && first.notBeforeMs > this.#now),
    );

  #begin(id: string): void {
    const job = this.waiting.find((each) => each.id === id);
    assert.ok(job);
    this.waiting = this.waiting.filter((each) => each !== job);
    for (const other of this.waiting) if (other.seq < job.seq) other.overtaken += 1;
    this.#clock.began(job);
    const { vm, source, destination } = job;
    this.running.push({ id, vm, source, destination, left: job.asked.steps, job });
    this.begun.push(job);
  }

  #check(): void {
    const vms = this.running.map(({ vm }) => vm);
    assert.equal(new Set(vms).size, vms.length, 'one at a time of each VM');
    const moves = this.running.filter(this.#moves);
    assert.ok(moves.length <= this.#limits.outgoing, 'the limit of the host');
    for (const to of ['beta', 'gamma']) {
      const link = moves.filter(({ destination }) => destination === to).length;
      assert.ok(link <= this.#limits.link, 'the limit of the link');
    }
  }
}

const limits = fc.record({ outgoing: fc.integer({ min: 1, max: 4 }), link: fc.integer({ min: 1, max: 3 }) });

test('limits are kept, each VM has its jobs in order, and all are done in the end', () => {
  fc.assert(
    fc.property(limits, fc.array(fc.array(asked, { maxLength: 4 }), { maxLength: 20 }), (limit, rounds) => {
      const queue = new Simulation(limit);
      for (const round of rounds) {
        for (const one of round) queue.add(one);
        queue.step();
      }
      for (let n = 0; n < 2000 && queue.waiting.length > 0; n++) queue.step();
      assert.deepEqual(queue.waiting, [], 'all began');
      for (const vm of VMS) {
        const first = new Map<string, number>();
        for (const [n, job] of queue.begun.entries())
          if (job.vm === vm && !first.has(job.id)) first.set(job.id, n);
        const seqs = [...first.keys()].map((id) => Number(id.slice(1)));
        assert.deepEqual(
          seqs,
          seqs.toSorted((a, b) => a - b),
        );
      }
    }),
    { numRuns: RUNS },
  );
});

test('nobody starves: the others may keep asking for ever, and only a bounded number of theirs goes before it', () => {
  fc.assert(
    fc.property(
      limits,
      fc.array(asked, { minLength: 1, maxLength: 8 }),
      fc.array(asked, { minLength: 1, maxLength: 8 }),
      (limit, first, flood) => {
        const queue = new Simulation(limit);
        for (const one of [...first, { ...flood[0], principal: 'dan', vm: 'z', destination: 'beta' }])
          queue.add({ steps: 1, putBack: 0, ...one });
        const mine = queue.waiting.at(-1);
        assert.ok(mine);
        // with every step as many new jobs come as there are places, from everybody else, for all links
        for (let n = 0; n < 400 && !queue.begun.some(({ id }) => id === mine.id); n++) {
          for (const one of flood) queue.add({ ...one, putBack: 0 });
          queue.step();
        }
        assert.ok(
          queue.begun.some(({ id }) => id === mine.id),
          'it began',
        );
        // each other principal has at most the turns that its jobs had when this one came, and one more
        const bound = (first.length + 1) * PRINCIPALS.length * VMS.length;
        assert.ok(mine.overtaken <= bound, `${mine.overtaken} of ${bound} went before it`);
      },
    ),
    { numRuns: RUNS },
  );
});

test('the order is that of the turns, whatever the order in which jobs are given', () => {
  fc.assert(
    fc.property(fc.array(asked, { maxLength: 12 }), fc.integer(), (all, seed) => {
      const queue = new Simulation({ outgoing: 1, link: 1 });
      for (const one of all) queue.add(one);
      const mixed = queue.waiting.toSorted((a, b) => ((a.seq * 7919) ^ seed) - ((b.seq * 7919) ^ seed));
      assert.deepEqual(inOrder(mixed), inOrder(queue.waiting));
      assert.deepEqual(new Clock(mixed).next(mixed, { principal: 'ann', vm: 'a' }).slot > 0, true);
    }),
    { numRuns: RUNS },
  );
});

test('a host that is asked by two sources takes from both in turn, whoever asks more often', () => {
  const admission = new Admission(1);
  const taken: string[] = [];
  // `loud` asks in every step, for a new VM each time that it got one; `quiet` every fifth
  let loud = 0;
  let quiet = 0;
  for (let step = 0; step < 100; step++) {
    const coming = step % 4 === 0 ? 0 : 1; // one place, free again in every fourth step
    let free = coming;
    if (admission.ask({ source: 'loud', vm: `l${loud}` }, free, step * 100) === undefined) {
      taken.push('loud');
      loud += 1;
      free += 1;
    }
    if (
      step % 5 === 0 &&
      admission.ask({ source: 'quiet', vm: `q${quiet}` }, free, step * 100) === undefined
    ) {
      taken.push('quiet');
      quiet += 1;
    }
  }
  assert.ok(quiet >= 3 && loud >= 3, `${taken}`);
});

test('who was refused and stays away does not keep the place for ever', () => {
  const admission = new Admission(1);
  assert.match(admission.ask({ source: 'beta', vm: 'a' }, 1, 0) ?? '', /takes 1 of 1/);
  assert.match(admission.ask({ source: 'gamma', vm: 'b' }, 0, 10) ?? '', /1 wait longer/);
  assert.equal(admission.ask({ source: 'gamma', vm: 'b' }, 0, 60_000), undefined);
  admission.ask({ source: 'beta', vm: 'a' }, 1, 60_000);
  admission.withdraw({ source: 'beta', vm: 'a' });
  assert.equal(admission.ask({ source: 'delta', vm: 'c' }, 0, 60_001), undefined);
});
