/**
 * Compiles a replay plan into the files that the program in the guest runs: shell steps whose every word is quoted,
 * and batch files for `ip`, `tc` and `bridge`, as each process costs 5 to 10 ms in an emulated guest. Pure.
 */
import { shellCommand, shellQuote } from '../../base/shell-quote.ts';
import type { Operation, OperationSet, ReplayPlan, Stage } from './plan-model.ts';

/** A file to be put into the guest. */
export interface GuestFile {
  path: string;
  text: string;
  mode: number;
}

/** Words that mean the same to a batch parser as to an argument vector: no blank, quote, backslash or comment. */
const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

const BATCHED: ReadonlySet<Operation['tool']> = new Set(['ip', 'tc', 'bridge']);

/** Objects of `ip` that end the whole batch when they fail, whatever `-force` says. */
const ENDS_BATCH: ReadonlySet<string> = new Set(['maddress', 'token']);

/** Leading options (`-6`) belong to the process, so operations with different ones cannot share a batch. */
function leadingOptions(operation: Operation): { options: string[]; words: string[] } {
  const first = operation.argv.findIndex((word) => !word.startsWith('-'));
  const at = first < 0 ? operation.argv.length : first;
  return { options: operation.argv.slice(0, at), words: operation.argv.slice(at) };
}

function batchable(operation: Operation): boolean {
  const { words } = leadingOptions(operation);
  return (
    BATCHED.has(operation.tool) &&
    words.length > 0 &&
    !ENDS_BATCH.has(words[0] ?? '') &&
    operation.argv.every((word) => PLAIN.test(word))
  );
}

const renames = (operation: Operation): boolean =>
  operation.tool === 'ip' && operation.argv[0] === 'link' && operation.argv[4] === 'name';

interface Batch {
  first: number;
  tool: Operation['tool'];
  options: string[];
  lines: string[];
  /** Lines that must not be run again, at its start: to swap names twice is not to swap them. */
  once: number;
  /** Stages that end with this batch. */
  ended: Stage[];
}

/** Interfaces that must be there before a set goes on past its stage `prepare`; else it would only do harm. */
function neededAfterPrepare(set: OperationSet, plan: ReplayPlan): string | undefined {
  if (set === 'adopt') {
    const made = plan.sets.adopt.find((o) => o.argv[0] === 'link' && o.argv[1] === 'add');
    return made?.argv[3];
  }
  return set === 'giveback' ? plan.deviceName : undefined;
}

const STAGES: readonly Stage[] = ['prepare', 'raise', 'traffic', 'rest'];

class SetCompiler {
  readonly files: GuestFile[] = [];
  readonly #lines: string[] = [];
  readonly #base: string;
  #open: Batch | undefined;
  #batches = 0;

  constructor(base: string) {
    this.#base = base;
  }

  add(operation: Operation): void {
    if (!batchable(operation)) {
      this.#flush();
      const [file = '', value = ''] = operation.argv;
      this.#lines.push(
        operation.tool === 'write'
          ? `write ${operation.id} ${shellQuote(file)} ${shellQuote(value)}`
          : `op ${operation.id} ${shellCommand([operation.tool, ...operation.argv])}`,
      );
      return;
    }
    const { options, words } = leadingOptions(operation);
    const open = this.#open;
    const joins = open?.tool === operation.tool && open.options.join(' ') === options.join(' ');
    if (!joins) this.#flush();
    const fresh = { first: operation.id, tool: operation.tool, options, lines: [], once: 0, ended: [] };
    const batch: Batch = this.#open ?? fresh;
    this.#open = batch;
    batch.lines.push(words.join(' '));
    if (renames(operation)) batch.once = batch.lines.length;
  }

  /** A batch may go on into the next stage; a stage is told to be over when the batch that holds its end is. */
  endStage(stage: Stage): void {
    if (this.#open === undefined) this.#lines.push(`stage ${stage}`);
    else this.#open.ended.push(stage);
  }

  need(dev: string): void {
    this.#flush();
    this.#lines.push(`need ${shellQuote(dev)} || return 1`);
  }

  finish(): void {
    this.#flush();
    this.files.unshift({
      path: `${this.#base}.steps`,
      text: this.#lines.map((l) => `${l}\n`).join(''),
      mode: 0o600,
    });
  }

  #flush(): void {
    const batch = this.#open;
    if (batch === undefined) return;
    this.#open = undefined;
    this.#batches += 1;
    const path = `${this.#base}.${this.#batches}.${batch.tool}`;
    this.files.push({ path, text: `${batch.lines.join('\n')}\n`, mode: 0o600 });
    const numbers = [batch.first, batch.lines.length, batch.once].join(' ');
    this.#lines.push(`batch ${numbers} ${shellCommand([path, batch.tool, ...batch.options])}`);
    for (const stage of batch.ended) this.#lines.push(`stage ${stage}`);
  }
}

function compileSet(plan: ReplayPlan, set: OperationSet, dir: string): GuestFile[] {
  const compiler = new SetCompiler(`${dir}/${set}`);
  const needed = neededAfterPrepare(set, plan);
  const operations = plan.sets[set];
  if (operations.length === 0) return [];
  for (const stage of STAGES) {
    for (const operation of operations) if (operation.stage === stage) compiler.add(operation);
    compiler.endStage(stage);
    if (stage === 'prepare' && needed !== undefined) compiler.need(needed);
  }
  compiler.finish();
  return compiler.files;
}

/** `name=value` lines that a shell reads, every value quoted. */
export function assignments(values: Record<string, string>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}=${shellQuote(value)}\n`)
    .join('');
}

/**
 * Files of one plan below the guest's directory `dir`: `match` (which device, which names), and for each set that
 * does anything `SET.steps` with its batches.
 * @throws RangeError when a word holds a NUL.
 */
export function compilePlan(plan: ReplayPlan, dir: string): GuestFile[] {
  const match = assignments({
    match_mac: plan.match.mac,
    match_pci: plan.match.pciPath,
    device: plan.deviceName,
    interface: plan.interfaceName,
    standin: plan.standIn,
    continuity: plan.continuity,
    standby: plan.standbyName ?? '',
    made: neededAfterPrepare('adopt', plan) ?? '',
  });
  const sets: OperationSet[] = ['adopt', 'leave', 'attach', 'giveback'];
  const announce = plan.sets.attach.filter((o) => o.argv.at(-1) === 'probe' && batchable(o));
  return [
    { path: `${dir}/match`, text: match, mode: 0o600 },
    // run again when the carrier comes after the addresses: asking on a dead link tells no switch anything
    ...(announce.length === 0
      ? []
      : [
          {
            path: `${dir}/announce.ip`,
            text: announce.map((o) => `${o.argv.join(' ')}\n`).join(''),
            mode: 0o600,
          },
        ]),
    ...sets.flatMap((set) => compileSet(plan, set, dir)),
  ];
}
