/**
 * A small explicit-state model checker: breadth first over every state that can be reached, each kept once. It finds
 * the shortest way to a state that breaks an invariant; and states from which, when nothing more goes wrong, no good
 * end can be reached. As a good end is never left again without a new fault, the second means: every terminal strongly
 * connected component of the graph without faults is good, so that every fair run ends well.
 */

export interface Step<S> {
  /** What happened, for people. */
  label: string;
  to: S;
  /** Something went wrong here: not a part of the runs that must end well. */
  fault: boolean;
}

export interface Exploration<S> {
  initial: S;
  /** One text per state; `decode` gives the state back, so that only texts are kept. */
  encode: (state: S) => string;
  decode: (text: string) => S;
  next: (state: S) => Iterable<Step<S>>;
  /** By name; each must hold in every state. */
  invariants: Readonly<Record<string, (state: S) => boolean>>;
  good: (state: S) => boolean;
}

export interface Violation<S> {
  /** The invariant's name, or what is wrong with the ends. */
  broken: string;
  /** The shortest way there, from the initial state. */
  trace: { label: string; state: S }[];
}

export interface Explored<S> {
  states: number;
  transitions: number;
  /** Steps from the initial state to the farthest one. */
  depth: number;
  good: number;
  violation?: Violation<S>;
}

/** Numbers that grow: an array of objects per transition would not fit into memory. */
class Numbers {
  #held = new Int32Array(1 << 16);
  length = 0;

  push(value: number): void {
    if (this.length === this.#held.length) {
      const larger = new Int32Array(this.length * 2);
      larger.set(this.#held);
      this.#held = larger;
    }
    this.#held[this.length] = value;
    this.length += 1;
  }

  at(index: number): number {
    return this.#held[index] ?? -1;
  }
}

class Explorer<S> {
  readonly #model: Exploration<S>;
  readonly #index = new Map<string, number>();
  readonly #texts: string[] = [];
  readonly #parents = new Numbers();
  readonly #depths = new Numbers();
  readonly #labels: string[] = [];
  /** Steps without a fault, for the search backwards. */
  readonly #from = new Numbers();
  readonly #to = new Numbers();
  readonly #good: number[] = [];
  readonly #invariants: [string, (state: S) => boolean][];
  #transitions = 0;

  constructor(model: Exploration<S>) {
    this.#model = model;
    this.#invariants = Object.entries(model.invariants);
  }

  run(): Explored<S> {
    this.#add(this.#model.encode(this.#model.initial), -1, '');
    for (let at = 0; at < this.#texts.length; at += 1) {
      const broken = this.#expand(at);
      if (broken !== undefined) return this.#result({ broken, trace: this.#trace(at) });
    }
    const lost = this.#cannotEndWell();
    return this.#result(
      lost === undefined ? undefined : { broken: 'no good end can be reached', trace: this.#trace(lost) },
    );
  }

  /** @returns what the state breaks */
  #expand(at: number): string | undefined {
    const { decode, encode, next, good } = this.#model;
    const state = decode(this.#texts[at] ?? '');
    for (const [name, holds] of this.#invariants) if (!holds(state)) return name;
    const isGood = good(state);
    if (isGood) this.#good.push(at);
    for (const { label, to, fault } of next(state)) {
      this.#transitions += 1;
      const index = this.#add(encode(to), at, label);
      if (fault || index === at) continue;
      if (isGood && !good(to)) return `a good end is left by itself: ${label}`;
      this.#from.push(at);
      this.#to.push(index);
    }
    return undefined;
  }

  #add(text: string, parent: number, label: string): number {
    const known = this.#index.get(text);
    if (known !== undefined) return known;
    const index = this.#texts.length;
    this.#index.set(text, index);
    this.#texts.push(text);
    this.#parents.push(parent);
    this.#depths.push(parent < 0 ? 0 : this.#depths.at(parent) + 1);
    this.#labels.push(label);
    return index;
  }

  /** The first state from which steps without a fault lead to no good end. */
  #cannotEndWell(): number | undefined {
    const states = this.#texts.length;
    const edges = this.#from.length;
    // edges into a state stand beside each other: their place is found by counting
    const starts = new Int32Array(states + 1);
    for (let edge = 0; edge < edges; edge += 1)
      starts[this.#to.at(edge) + 1] = (starts[this.#to.at(edge) + 1] ?? 0) + 1;
    for (let state = 0; state < states; state += 1)
      starts[state + 1] = (starts[state + 1] ?? 0) + (starts[state] ?? 0);
    const fill = starts.slice();
    const sources = new Int32Array(edges);
    for (let edge = 0; edge < edges; edge += 1) {
      const to = this.#to.at(edge);
      const place = fill[to] ?? 0;
      sources[place] = this.#from.at(edge);
      fill[to] = place + 1;
    }
    const ends = new Uint8Array(states);
    const queue = [...this.#good];
    for (const state of queue) ends[state] = 1;
    for (let head = 0; head < queue.length; head += 1) {
      const to = queue[head] ?? 0;
      for (let place = starts[to] ?? 0; place < (starts[to + 1] ?? 0); place += 1) {
        const from = sources[place] ?? 0;
        if (ends[from] === 1) continue;
        ends[from] = 1;
        queue.push(from);
      }
    }
    const lost = ends.indexOf(0);
    return lost < 0 ? undefined : lost;
  }

  #trace(end: number): Violation<S>['trace'] {
    const trace: Violation<S>['trace'] = [];
    for (let at = end; at >= 0; at = this.#parents.at(at)) {
      trace.unshift({ label: this.#labels[at] ?? '', state: this.#model.decode(this.#texts[at] ?? '') });
    }
    return trace;
  }

  #result(violation: Violation<S> | undefined): Explored<S> {
    return {
      states: this.#texts.length,
      transitions: this.#transitions,
      depth: this.#depths.at(this.#texts.length - 1),
      good: this.#good.length,
      ...(violation === undefined ? {} : { violation }),
    };
  }
}

/** Explores everything that can be reached. Ends at the first violation. */
export function explore<S>(model: Exploration<S>): Explored<S> {
  return new Explorer(model).run();
}

/** A violation as lines for people; `show` says what a state looks like. */
export function traceText<S>({ broken, trace }: Violation<S>, show: (state: S) => string): string {
  const lines = trace.map(({ label }, n) => (n === 0 ? 'at first' : `${String(n).padStart(2)}. ${label}`));
  const last = trace.at(-1);
  return [`broken: ${broken}`, ...lines, `then: ${last === undefined ? '' : show(last.state)}`].join('\n');
}
