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

/** A sysctl of an interface, in the form that plans write. */
const SYSCTL = /^\/proc\/sys\/net\/(ipv[46]\/(?:conf|neigh))\/([^/]+)\/([^/]+)$/;

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

/** The bond that an adoption makes. */
function madeBy(plan: ReplayPlan): string | undefined {
  return plan.sets.adopt.find(({ argv }) => argv[0] === 'link' && argv[1] === 'add')?.argv[3];
}

/** What must be there, below /sys/class/net, before a set goes on past its stage `prepare`: else it would only do harm. */
function neededAfterPrepare(set: OperationSet, plan: ReplayPlan): string[] {
  const member = (bond: string) =>
    plan.standbyName === undefined ? [] : [`${bond}/lower_${plan.standbyName}`];
  if (set === 'leave') return plan.standIn === 'bond' ? member(plan.interfaceName) : [];
  if (set === 'giveback') return [plan.deviceName];
  const made = madeBy(plan);
  return set === 'adopt' && made !== undefined ? [made, ...member(made)] : [];
}

const STAGES: readonly Stage[] = ['prepare', 'raise', 'traffic', 'rest'];

/** What waits for a link, of the set that brings the device: the program runs it whichever set came before the link. */
function compileWaiting(plan: ReplayPlan, stage: 'linked' | 'noted', dir: string): GuestFile[] {
  const operations = plan.sets.attach.filter((operation) => operation.stage === stage);
  if (operations.length === 0) return [];
  const compiler = new SetCompiler(`${dir}/${stage}`, undefined);
  for (const operation of operations) compiler.add(operation);
  compiler.finish();
  return compiler.files;
}

/** Most lines of a batch that the program gets as text, to put the renaming of the device before them. */
const MOST_INLINE = 64;

/** Calls of ethtool whose words belong together: the program would try the others of any call one by one. */
const WHOLE_CALLS: ReadonlySet<string> = new Set(['-N', '-U', '-X', '--set-fec', '--set-eee']);

/** The function of `tuning.sh` that performs an operation, with its words; undefined when program.sh does it itself. */
function tunedCall(tool: Operation['tool'], argv: readonly string[]): [string, string[]] | undefined {
  const [first = '', ...rest] = argv;
  if (tool === 'tune') return [`tune_${first}`, rest];
  if (tool !== 'ethtool') return undefined;
  if (first === '-G' || first === '-L') return ['tune_fit', [...argv]];
  // speed and duplex make sense together only
  const whole = WHOLE_CALLS.has(first) || (first === '-s' && (argv[2] === 'autoneg' || argv[2] === 'speed'));
  return whole ? ['tune_call', [tool, ...argv]] : undefined;
}

const needsTuning = ({ tool, argv }: Operation): boolean => tunedCall(tool, argv) !== undefined;

class SetCompiler {
  readonly files: GuestFile[] = [];
  readonly #lines: string[] = [];
  readonly #base: string;
  /** Device that may still have its first name when the set begins, so that its sysctls must follow it. */
  readonly #arriving: string | undefined;
  #open: Batch | undefined;
  #batches = 0;

  constructor(base: string, arriving: string | undefined) {
    this.#base = base;
    this.#arriving = arriving;
  }

  add(operation: Operation): void {
    if (!batchable(operation)) {
      this.#flush();
      this.#lines.push(this.#single(operation));
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

  #single({ id, tool, argv }: Operation): string {
    const tuned = tunedCall(tool, argv);
    if (tuned !== undefined) return `${tuned[0]} ${id} ${shellCommand(tuned[1])}`;
    if (tool !== 'write') return `op ${id} ${shellCommand([tool, ...argv])}`;
    const [file = '', value = ''] = argv;
    const [, kind, dev, key] = SYSCTL.exec(file) ?? [];
    return kind !== undefined && key !== undefined && dev === this.#arriving
      ? `sysctl ${id} ${shellCommand([kind, key, value])}`
      : `write ${id} ${shellCommand([file, value])}`;
  }

  /** A batch may go on into the next stage; a stage is told to be over when the batch that holds its end is. */
  endStage(stage: Stage): void {
    if (this.#open === undefined) this.#lines.push(`stage ${stage}`);
    else this.#open.ended.push(stage);
  }

  /** Functions that the set needs, in a file of the program's directory. */
  read(file: string): void {
    this.#lines.push(`. "$dir/${file}"`);
  }

  need(path: string): void {
    this.#flush();
    this.#lines.push(`need ${shellQuote(path)} || return 1`);
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
    if (this.#arriving !== undefined && this.#batches === 1 && batch.lines.length <= MOST_INLINE) {
      this.#lines.push(`lines=${shellQuote(batch.lines.join('\n'))}`);
    }
    const numbers = [batch.first, batch.lines.length, batch.once].join(' ');
    this.#lines.push(`batch ${numbers} ${shellCommand([path, batch.tool, ...batch.options])}`);
    for (const stage of batch.ended) this.#lines.push(`stage ${stage}`);
  }
}

function compileSet(plan: ReplayPlan, set: OperationSet, dir: string): GuestFile[] {
  const compiler = new SetCompiler(`${dir}/${set}`, set === 'attach' ? plan.deviceName : undefined);
  const needed = neededAfterPrepare(set, plan);
  const operations = plan.sets[set];
  if (operations.length === 0) return [];
  if (operations.some(needsTuning)) compiler.read('tuning.sh');
  for (const stage of STAGES) {
    for (const operation of operations) if (operation.stage === stage) compiler.add(operation);
    compiler.endStage(stage);
    if (stage === 'prepare') for (const path of needed) compiler.need(path);
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
 * What is done again when the link comes after the addresses: to ask on a dead link tells no switch anything, and
 * leaves neighbours that are not asked again for a second.
 */
function announcement(plan: ReplayPlan, dir: string): GuestFile[] {
  if (plan.continuity === 'bridge' && plan.standIn === 'bond') return []; // the bond announces itself
  const flush = (state: string) => `neighbour flush dev ${plan.interfaceName} nud ${state}`;
  const learned = plan.sets.attach.filter(
    // flushing takes the externally learned ones away too, whatever state they are in
    ({ argv }) =>
      argv[0] === 'neighbour' && (/^(probe|stale)$/.test(argv[8] ?? '') || argv.includes('extern_learn')),
  );
  const lines = [
    ...(PLAIN.test(plan.interfaceName) ? [flush('incomplete'), flush('failed')] : []),
    ...new Set(learned.filter(batchable).map(({ argv }) => argv.join(' '))),
  ];
  return [{ path: `${dir}/announce.ip`, text: lines.map((l) => `${l}\n`).join(''), mode: 0o600 }];
}

/**
 * Files of one plan below the guest's directory `dir`: `match` (which device, which names), and for each set that
 * does anything `SET.steps` with its batches; `linked.steps` and `noted.steps` for what waits for a link.
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
    made: madeBy(plan) ?? '',
    queues: plan.sets.attach.some(({ tool, argv }) => tool === 'tc' && argv[0] === 'qdisc') ? '1' : '',
  });
  const sets: OperationSet[] = ['adopt', 'leave', 'attach', 'giveback'];
  return [
    { path: `${dir}/match`, text: match, mode: 0o600 },
    ...announcement(plan, dir),
    ...sets.flatMap((set) => compileSet(plan, set, dir)),
    ...compileWaiting(plan, 'linked', dir),
    ...compileWaiting(plan, 'noted', dir),
  ];
}
