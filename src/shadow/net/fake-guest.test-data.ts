/**
 * A guest made of files, for tests of the program: a tree for /sys and /proc/sys, and tools that note what they are
 * called with and do to the tree what the kernel would.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { deadline, raceSignal } from '../../base/deadline.ts';
import { exec } from '../../base/exec.ts';
import type { GuestFile } from './compile.ts';
import type { ReplayPlan } from './plan-model.ts';
import { type ProgramEvent, parseProgramEvent, programFiles } from './program.ts';

/** Shells that guests have, of those that are here. */
export const SHELLS: [string, ...string[]][] = [['dash'], ['busybox', 'sh'], ['bash']];

export async function hasShell([shell]: readonly [string, ...string[]]): Promise<boolean> {
  return exec([shell, ...(shell === 'busybox' ? ['true'] : ['-c', ':'])]).then(
    () => true,
    () => false,
  );
}

/**
 * Notes each call as: number of words, name, words, all ended by NUL; a batch as its lines. Fails at words that say
 * so, in the ways that the real ones do.
 */
const TOOL = String.raw`#!/bin/sh
note() { printf '%s\0' "$#" "$@" >>"$RECORD"; }
classes=$ROOT/sys/class/net
does() {
  note "$NAME" "$@"
  case $1 in -6 | -4) shift ;; esac
  for word; do
    case $word in
      FAIL) echo 'RTNETLINK answers: Invalid argument' >&2; return 2 ;;
      EXISTS) echo 'RTNETLINK answers: File exists' >&2; return 2 ;;
      GARBAGE) echo 'Error: either "to" is duplicate, or "GARBAGE" is a garbage.' >&2; exit 255 ;;
      UNSUPPORTED) echo 'netlink error: Operation not supported' >&2; return 1 ;;
    esac
  done
  case "$1 $2" in
    'link add') mkdir -p "$classes/$4/bonding"; echo 'active-backup 1' >"$classes/$4/bonding/mode" ;;
    'link delete') rm -rf "$classes/$4" ;;
    'link set')
      case $5 in
        master) mkdir -p "$classes/$6/lower_$4" ;;
        name)
          mv "$classes/$4" "$classes/$6"
          if [ -e "$PCI/net/$4" ]; then mv "$PCI/net/$4" "$PCI/net/$6"; fi
          ;;
      esac
      ;;
  esac
  return 0
}
case " $* " in *' monitor '*) exec sleep 3600 ;; esac
case $* in
  *'-force -batch '*)
    options=
    while [ "$1" != -force ]; do options="$options $1"; shift; done
    set -f
    number=0
    result=0
    while IFS= read -r words; do
      number=$((number + 1))
      does $options $words || { echo "Command failed $3:$number" >&2; result=1; }
    done <"$3"
    exit $result
    ;;
esac
does "$@"
`;

/** What a program has said so far, and what it is still to say. */
export class LogOfProgram {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  events(): ProgramEvent[] {
    if (!existsSync(this.#path)) return [];
    const lines = readFileSync(this.#path, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => {
      const event = parseProgramEvent(line);
      if (event === undefined) throw new Error(`not an event: ${line}`);
      return event;
    });
  }

  /** Waits for the `count`-th event of this kind. */
  async event(kind: ProgramEvent['e'], count = 1): Promise<ProgramEvent> {
    const find = () => this.events().filter((event) => event.e === kind)[count - 1];
    const { promise, resolve } = Promise.withResolvers<ProgramEvent>();
    const watcher = watch(dirname(this.#path), () => {
      const found = find();
      if (found !== undefined) resolve(found);
    });
    try {
      return find() ?? (await raceSignal(promise, deadline(`event ${kind}`, 20_000)));
    } catch (error) {
      throw new Error(`no event ${kind} in ${JSON.stringify(this.events())}`, { cause: error });
    } finally {
      watcher.close();
    }
  }
}

/** Process groups of programs that may still run; a test that failed, or was ended, leaves none behind. */
const groups = new Set<number>();
process.once('exit', () => groups.forEach(killGroup));

function killGroup(group: number): void {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // it has ended
  }
}

/** Does a process of the group run? One that has ended and waits to be reaped does not: some inits take seconds. */
function groupRuns(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch {
    return false;
  }
  return readdirSync('/proc').some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const [state = '', , of] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return Number(of) === group && !'ZX'.includes(state);
    } catch {
      return false; // it has ended meanwhile
    }
  });
}

/** Waits until no process of a group runs; they are nobody's children, so there is no event to wait for. */
export async function groupEnds(group: number): Promise<void> {
  const signal = deadline(`the end of process group ${group}`, 20_000);
  while (groupRuns(group)) {
    signal.throwIfAborted();
    await setTimeout(5);
  }
}

export class FakeGuest {
  readonly base: string = mkdtempSync(join(tmpdir(), 'fake-guest-'));
  readonly root: string = join(this.base, 'root');
  readonly dir: string = join(this.base, 'run', 'net0');
  readonly #record = join(this.base, 'record');
  readonly #port = join(this.base, 'port');
  readonly #log = new LogOfProgram(join(this.dir, 'log.jsonl'));
  readonly #groups: number[] = [];
  #program: ChildProcess | undefined;

  /** The tree has the device of `plan`, under the name `device`, down and with a link. */
  constructor(plan: ReplayPlan, device = plan.deviceName) {
    const pci = join(this.root, 'sys/bus/pci/devices', plan.match.pciPath);
    for (const name of ['ip', 'tc', 'ethtool', 'bridge']) {
      const path = join(this.base, 'bin', name);
      const head = Object.entries({ NAME: name, RECORD: this.#record, ROOT: this.root, PCI: pci })
        .map(([key, value]) => `${key}='${value}'\n`)
        .join('');
      this.put(path, TOOL.replace('\n', `\n${head}`));
      chmodSync(path, 0o755);
    }
    writeFileSync(this.#record, '');
    this.plug(plan, device, 7);
    for (const { tool, argv } of Object.values(plan.sets).flat()) {
      if (tool === 'write' && argv[0] !== undefined)
        mkdirSync(dirname(join(this.root, argv[0])), { recursive: true });
    }
  }

  put(path: string, text: string): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  /** Puts the device into the tree. */
  plug(plan: ReplayPlan, device: string, ifindex: number): void {
    const pci = join(this.root, 'sys/bus/pci/devices', plan.match.pciPath);
    for (const directory of [join(pci, 'net', device), join(this.root, 'sys/class/net', device)]) {
      this.put(join(directory, 'address'), `${plan.match.mac}\n`);
      this.put(join(directory, 'ifindex'), `${ifindex}\n`);
      this.put(join(directory, 'flags'), '0x1002\n');
      this.put(join(directory, 'carrier'), '1\n');
    }
  }

  inTree(path: string): string | undefined {
    const file = join(this.root, path);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  }

  /** All files below the made-up root, with what is in them. */
  tree(): Record<string, string> {
    const files = readdirSync(this.root, { recursive: true, withFileTypes: true }).filter((each) =>
      each.isFile(),
    );
    const paths = files.map(({ parentPath, name }) => join(parentPath, name)).toSorted();
    return Object.fromEntries(paths.map((path) => [path, readFileSync(path, 'utf8')]));
  }

  /** Installs the plans and starts the program in the foreground of `shell`; it is ready afterwards. */
  async start(shell: readonly [string, ...string[]], plan: ReplayPlan, source = plan): Promise<void> {
    const files = programFiles({ dir: this.dir, port: this.#port, destination: plan, source });
    for (const { path, text } of files satisfies GuestFile[]) this.put(path, text);
    rmSync(this.#port, { force: true });
    rmSync(join(this.dir, 'log.jsonl'), { force: true });
    await exec(['mkfifo', this.#port]);
    const [program, ...args] = shell;
    this.#program = spawn(program, [...args, join(this.dir, 'program.sh'), this.dir, 'run'], {
      stdio: 'ignore',
      detached: true,
      env: { SHADOWFERRY_ROOT: this.root, SHADOWFERRY_TOOLS: join(this.base, 'bin') },
    });
    const { pid } = this.#program;
    if (pid !== undefined) {
      this.#groups.push(pid);
      groups.add(pid);
    }
    await this.event('ready');
  }

  /** Runs `program.sh DIR end`, as a host does whose word does not reach the program. */
  async endFromOutside([program, ...args]: readonly [string, ...string[]]): Promise<void> {
    await exec([program, ...args, join(this.dir, 'program.sh'), this.dir, 'end']);
  }

  /**
   * What the program was told by a host, which is heard by the program only.
   * @throws ENXIO when no program listens.
   */
  command(text: string): void {
    const port = openSync(this.#port, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      writeFileSync(port, `${text}\n`);
    } finally {
      closeSync(port);
    }
  }

  events(): ProgramEvent[] {
    return this.#log.events();
  }

  event(kind: ProgramEvent['e'], count = 1): Promise<ProgramEvent> {
    return this.#log.event(kind, count);
  }

  /** Calls of tools since the last time: name and arguments. */
  calls(): string[][] {
    const words = readFileSync(this.#record, 'utf8').split('\0').slice(0, -1);
    writeFileSync(this.#record, '');
    const calls: string[][] = [];
    for (let at = 0; at < words.length; ) {
      const count = Number(words[at]);
      calls.push(words.slice(at + 1, at + 1 + count));
      at += 1 + count;
    }
    return calls;
  }

  get pid(): number {
    return this.#program?.pid ?? 0;
  }

  /** Ends the program, if it still runs, with all that it started, and removes the tree. */
  async end(): Promise<void> {
    this.#program?.kill('SIGTERM');
    try {
      await Promise.all(this.#groups.map(groupEnds));
    } finally {
      for (const group of this.#groups) {
        killGroup(group);
        groups.delete(group);
      }
      rmSync(this.base, { recursive: true, force: true, maxRetries: 5 });
    }
  }
}

const here = await Promise.all(SHELLS.map(hasShell));
/** Those of them that are here. */
export const shells = SHELLS.filter((_, at) => here[at]);

/** Runs `act` with a guest that has the device of `plan`, and ends it. */
export async function withGuest(
  plan: ReplayPlan,
  act: (guest: FakeGuest) => Promise<void>,
  device?: string,
): Promise<void> {
  const guest = new FakeGuest(plan, device);
  try {
    await act(guest);
  } finally {
    await guest.end();
  }
}
