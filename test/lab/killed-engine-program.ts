/**
 * Run by killed-engine.long.test.ts: migrates `web1` of the lab in argv[2] by strategy argv[3], and dies by SIGKILL when the
 * journal holds what argv[4] says: `begin NAME` and `end NAME` of a step, or `note KIND`.
 */
import { join } from 'node:path';
import { deadline } from '../../src/base/deadline.ts';
import { Lab } from '../../src/lab/lab.ts';
import { LocalDestination } from '../../src/migration/destination/local-host.ts';
import { migrateVm } from '../../src/migration/engine.ts';
import { Journal } from '../../src/migration/journal.ts';
import { parseRequest } from '../../src/migration/request.ts';

const [, , directory = '', strategy = 'precopy', point = ''] = process.argv;

class DeadlyJournal extends Journal {
  readonly #names = new Map<number, string>();

  override begin(...args: Parameters<Journal['begin']>): number {
    const seq = super.begin(...args);
    this.#names.set(seq, args[2]);
    this.#die(`begin ${args[2]}`);
    return seq;
  }

  override end(...args: Parameters<Journal['end']>): void {
    super.end(...args);
    this.#die(`end ${this.#names.get(args[1])}`);
  }

  override note(...args: Parameters<Journal['note']>): void {
    super.note(...args);
    this.#die(`note ${args[1]}`);
  }

  #die(now: string): void {
    if (now === point) process.kill(process.pid, 'SIGKILL');
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
process.exit(1);
