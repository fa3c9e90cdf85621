/** How long a daemon takes from its start until it answers, with a journal of years and with an empty one. */
import { join } from 'node:path';
import { deadline } from '../../src/base/deadline.ts';
import type { Measurement } from '../harness.ts';
import { writeJournal } from './journal.ts';
import { makeDaemon, type OneDaemon, processorMs, residentBytes, untilHealthy } from './one.ts';

const START_MS = 60_000;

/** One daemon that is started again and again on the same journal, which is written once. */
export class Starts {
  readonly entries: number;
  #one: OneDaemon | undefined;

  constructor(entries: number) {
    this.entries = entries;
  }

  async measure(): Promise<Measurement> {
    const one = await this.#prepared();
    const signal = deadline('the start of the daemon', START_MS);
    const began = performance.now();
    const [startMs] = await Promise.all([
      untilHealthy(one.socket, signal).then(() => performance.now() - began),
      one.daemon.start(),
    ]);
    const { pid } = one.daemon;
    if (pid === undefined) throw new Error('the daemon ended');
    // what it has used when it answers: says more than the time on a machine that has other things to do
    const startCpuMs = processorMs(pid);
    const residentMB = residentBytes(pid) / 1e6;
    await one.daemon.stop();
    return {
      metrics: { startMs, startCpuMs, residentMB },
      flags: [],
      raw: { entries: this.entries, startMs },
    };
  }

  async #prepared(): Promise<OneDaemon> {
    if (this.#one !== undefined) return this.#one;
    // all of it is to be there each time
    const one = makeDaemon({ journal: { keep: { entries: 1_000_000 } } });
    this.#one = one;
    if (this.entries > 0) writeJournal(join(one.state, 'journal.db'), this.entries);
    return one;
  }

  async dispose(): Promise<void> {
    await this.#one?.[Symbol.asyncDispose]();
    this.#one = undefined;
  }
}
