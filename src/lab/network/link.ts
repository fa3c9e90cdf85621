import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';
import { awaitCarrier } from './carrier.ts';
import { DelayLine } from './delay-line.ts';
import type { NetworkFeatures } from './features.ts';
import { ipBatch } from './ip.ts';
import { delayQueueBytes, type LinkShape, rootQdisc } from './shaping.ts';

/** One end of a link: the wire's interface `wire` is a port of `bridge` in namespace `netns`. */
export interface LinkEnd {
  netns: string;
  bridge: string;
  wire: string;
}

/** The name of the delay line's interface that stands in for `wire`. */
function tapName(wire: string): string {
  return `d-${wire}`;
}

/**
 * A link between two bridges: a wire (veth), or a delay line in its place. Rate and delay can be changed and the
 * link cut while it is in use; changes are made one after the other.
 */
export class Link {
  readonly name: string;
  readonly #ends: readonly [LinkEnd, LinkEnd];
  readonly #features: NetworkFeatures;
  readonly #mtu: number;
  #shape: LinkShape = {};
  #cut = false;
  #line: DelayLine | undefined;
  #shaped = new Set<string>();
  #last: Promise<void> = Promise.resolve();

  constructor(name: string, ends: readonly [LinkEnd, LinkEnd], features: NetworkFeatures, mtu: number) {
    this.name = name;
    this.#ends = ends;
    this.#features = features;
    this.#mtu = mtu;
  }

  get shape(): Readonly<LinkShape> {
    return this.#shape;
  }

  /** What is wrong with the link without anybody having asked for it, if anything. */
  get problem(): string | undefined {
    if (!this.#line || this.#line.alive) return undefined;
    return `The delay line of link "${this.name}" has ended; the link is down until it is set again.`;
  }

  /**
   * Gives the link a rate and a delay, in place of what it had.
   * @throws ShadowferryError INPUT_FIELD for a value out of range, LINK_SHAPE_UNAVAILABLE when nothing here can do it.
   */
  set(shape: LinkShape): Promise<void> {
    return this.#inTurn(async () => {
      this.#check(shape);
      await this.#changeCarrier(shape);
      for (const end of this.#ends) await this.#setQdisc(end, shape);
      this.#shape = { ...shape };
    });
  }

  /** Takes the carrier from both ends, as if the cable were pulled. Cutting a cut link does nothing. */
  cut(): Promise<void> {
    return this.#inTurn(async () => {
      this.#cut = true;
      await this.#each((end) => [`link set dev ${this.#port(end)} down`]);
    });
  }

  /** Undoes `cut`. */
  restore(): Promise<void> {
    return this.#inTurn(async () => {
      this.#cut = false;
      await this.#up();
    });
  }

  /** Stops the delay line, if there is one. */
  async dispose(): Promise<void> {
    await this.#inTurn(async () => {
      await this.#line?.stop();
      this.#line = undefined;
    });
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    const mine = this.#last.then(change);
    this.#last = mine.catch(() => {}); // its caller hears of it
    return mine;
  }

  #check({ rateMbit = 0, delayMs = 0 }: LinkShape): void {
    const field = `link ${this.name}`;
    if (!(rateMbit === 0 || (rateMbit >= 0.1 && rateMbit <= 100_000))) {
      throw new ShadowferryError('INPUT_FIELD', { field, problem: 'the rate must be 0.1 to 100000 Mbit/s' });
    }
    if (!(delayMs >= 0 && delayMs <= 10_000)) {
      throw new ShadowferryError('INPUT_FIELD', { field, problem: 'the delay must be 0 to 10000 ms' });
    }
    if (delayMs > 0 && this.#features.delay === 'none') {
      throw new ShadowferryError('LINK_SHAPE_UNAVAILABLE', { link: this.name, why: this.#features.reason });
    }
    if (rateMbit > 0 && !this.#features.tbf && !(delayMs > 0 && this.#features.netem)) {
      const why = 'The kernel has no sch_tbf, which limits rates.';
      throw new ShadowferryError('LINK_SHAPE_UNAVAILABLE', { link: this.name, why });
    }
  }

  /** The interface that carries the traffic at `end` now. */
  #port(end: LinkEnd): string {
    return this.#line ? tapName(end.wire) : end.wire;
  }

  /** Puts a delay line in place of the wire, or the wire in place of the delay line, as `shape` needs it. */
  async #changeCarrier(shape: LinkShape): Promise<void> {
    const { delayMs = 0 } = shape;
    const needed = delayMs > 0 && this.#features.delay === 'delay-line';
    const queueBytes = delayQueueBytes(shape);
    if (needed && this.#line?.alive) return this.#line.set({ delayMs, queueBytes });
    if (!needed && !this.#line) return;
    // The old carrier goes down before the new one comes up: both at once would be a loop of bridges.
    if (!needed) {
      await this.#line?.stop(); // its interfaces vanish with it
      this.#line = undefined;
      if (!this.#cut) await this.#up();
      return;
    }
    const [a, b] = this.#ends;
    const line = await DelayLine.start({
      ends: [
        { netns: a.netns, tap: tapName(a.wire) },
        { netns: b.netns, tap: tapName(b.wire) },
      ],
      delayMs,
      queueBytes,
    });
    try {
      await this.#each((end) => [
        `link set dev ${end.wire} down`,
        `link set dev ${tapName(end.wire)} mtu ${this.#mtu} addrgenmode none master ${end.bridge}`,
      ]);
      this.#line = line;
      if (!this.#cut) await this.#up();
    } catch (error) {
      this.#line = undefined;
      await line.stop();
      throw error;
    }
  }

  /** Starts the ports that carry the traffic; resolves when they, and the bridges behind them, have a carrier. */
  async #up(): Promise<void> {
    await this.#each((end) => [`link set dev ${this.#port(end)} up`]);
    await Promise.all(this.#ends.map((end) => awaitCarrier(end.netns, [this.#port(end), end.bridge])));
  }

  async #setQdisc(end: LinkEnd, shape: LinkShape): Promise<void> {
    const port = this.#port(end);
    const key = `${end.netns} ${port}`;
    const qdisc = rootQdisc(shape, this.#features.delay);
    if (qdisc) {
      // Added anew, not changed: "replace" refuses to exchange one kind's parameters by another's.
      if (this.#shaped.delete(key)) await this.#removeQdisc(end.netns, port);
      await exec(['tc', '-n', end.netns, 'qdisc', 'add', 'dev', port, 'root', ...qdisc]);
      this.#shaped.add(key);
    } else if (this.#shaped.delete(key)) await this.#removeQdisc(end.netns, port);
  }

  async #removeQdisc(netns: string, port: string): Promise<void> {
    // Taps of an earlier delay line took theirs with them.
    await exec(['tc', '-n', netns, 'qdisc', 'del', 'dev', port, 'root'], { allowFailure: true });
  }

  async #each(commands: (end: LinkEnd) => string[]): Promise<void> {
    await Promise.all(this.#ends.map((end) => ipBatch(end.netns, commands(end))));
  }
}
