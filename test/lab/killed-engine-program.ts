/**
 * Run by killed-engine.long.test.ts: migrates `web1` of the lab in argv[2] by strategy argv[3], and dies by SIGKILL when the
 * journal holds what argv[4] says: `begin NAME` and `end NAME` of a step, or `note KIND`. With `full: ` before it, the
 * disk of the journal is full from there on, and it dies when it has taken all back without being able to write it down.
 */
import { join } from 'node:path';
import { deadline } from '../../src/base/deadline.ts';
import { Lab } from '../../src/lab/lab.ts';
import { LocalDestination } from '../../src/migration/destination/local-host.ts';
import { migrateVm } from '../../src/migration/engine.ts';
import { Journal } from '../../src/migration/journal.ts';
import { parseRequest } from '../../src/migration/request.ts';

const [, , directory = '', strategy = 'precopy', at = ''] = process.argv;
const point = at.replace(/^full: /, '');

class DeadlyJournal extends Journal {
  readonly #names = new Map<number, string>();
  #full = false;

  override begin(...args: Parameters<Journal['begin']>): number {
    this.#write();
    const seq = super.begin(...args);
    this.#names.set(seq, args[2]);
    this.#die(`begin ${args[2]}`);
    return seq;
  }

  override end(...args: Parameters<Journal['end']>): void {
    this.#write();
    super.end(...args);
    this.#die(`end ${this.#names.get(args[1])}`);
  }

  override note(...args: Parameters<Journal['note']>): void {
    this.#write();
    super.note(...args);
    this.#die(`note ${args[1]}`);
  }

  override setState(...args: Parameters<Journal['setState']>): void {
    this.#write();
    super.setState(...args);
  }

  override close(...args: Parameters<Journal['close']>): void {
    this.#write();
    super.close(...args);
  }

  #write(): void {
    if (this.#full) throw new Error('database or disk is full');
  }

  #die(now: string): void {
    if (now !== point) return;
    if (at === point) process.kill(process.pid, 'SIGKILL');
    this.#full = true;
  }
}

const lab = Lab.open(directory);
const { ownership, abilities } = lab;
const { result } = await migrateVm(parseRequest({ vm: 'web1', destination: 'b', strategy }), {
  journal: new DeadlyJournal(join(directory, 'journal.db')),
  ...{ ownership, abilities, source: await lab.find('web1', deadline('finding the VM', 10_000)) },
  destination: new LocalDestination(lab.hosts.b, { ownership, abilities }),
  emit: () => {},
  cancel: new AbortController().signal,
});
process.stdout.write(`${JSON.stringify(result.error ?? result.ending)}\n`);
if (at !== point) process.kill(process.pid, 'SIGKILL');
process.exit(1);
