/** `shadowferry pool …`: pools of contiguous volumes, and their reorganisation. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { parseBytes } from '../base/parse-bytes.ts';
import { formatBytes } from '../base/units.ts';
import { ShadowferryError } from '../errors.ts';
import { renderPoolSvg } from '../report/pool-svg.ts';
import type { View } from '../storage/pool/changes.ts';
import { volumeOf } from '../storage/pool/changes.ts';
import { nodesOf } from '../storage/pool/live/block-nodes.ts';
import { QemuMover, QemuRecovery } from '../storage/pool/live/mover.ts';
import { createPool, lookAtPool, openPool } from '../storage/pool/open.ts';
import { Pace } from '../storage/pool/pace.ts';
import type { Plan } from '../storage/pool/plan/plan.ts';
import type { Pool } from '../storage/pool/pool.ts';
import { planFor, runPlan } from '../storage/pool/reorganize.ts';
import { cancelOnSignal, checkWritable, print, say, wholeNumber, writeOutput } from './options.ts';
import { planLines, reportLines, reportOf, summaryOf, volumeLine, volumeLines } from './pool-output.ts';

interface Common {
  json?: boolean;
}

/** One line for programs, or lines for people. */
function tell(options: Common, line: Record<string, unknown>, text: readonly string[]): void {
  print(options.json ? JSON.stringify({ type: 'pool', ...line }) : text.join('\n'));
}

/** Opens a pool for a change, says what had to be recovered, and closes it. */
async function changing<T>(
  path: string,
  act: (pool: Pool, signal: AbortSignal) => Promise<T>,
  ended?: string,
): Promise<T> {
  const signal = cancelOnSignal();
  const { pool, recovered } = await openPool(path, new QemuRecovery(path, signal, ended), signal);
  await using open = pool;
  if (recovered.action !== 'none') say(`An earlier move was taken ${recovered.action}: ${recovered.reason}.`);
  return await act(open, signal);
}

async function create(
  path: string,
  options: Common & {
    size?: number;
    sparse?: boolean;
    force?: boolean;
    alignment?: number;
    volumes?: number;
  },
): Promise<void> {
  const { json: _, ...shape } = options;
  await using pool = await createPool(path, shape);
  tell(options, { report: reportOf(pool.view) }, [summaryOf(pool.view)]);
}

async function list(path: string, options: Common): Promise<void> {
  const view = await lookAtPool(path);
  const { volumes } = view.catalog;
  tell(options, { volumes }, volumes.length === 0 ? ['There is no volume.'] : volumeLines(view));
}

async function show(path: string, name: string, options: Common): Promise<void> {
  const view = await lookAtPool(path);
  const volume = volumeOf(view, name);
  const block = statSync(path).isBlockDevice();
  const node = volume.holder?.qemu?.node ?? `sf-v${volume.id}`;
  const nodes = nodesOf(path, volume, node, { direct: true, block });
  const blockdev = nodes.map((each) => `-blockdev '${JSON.stringify(each)}'`);
  tell(options, { volume, blockdev: nodes }, [volumeLine(volume), '', 'for QEMU:', ...blockdev]);
}

async function allocate(path: string, name: string, size: number, options: Common): Promise<void> {
  const volume = await changing(path, (pool) => pool.allocate(name, size));
  tell(options, { volume }, [volumeLine(volume)]);
}

async function grow(
  path: string,
  name: string,
  size: number,
  options: Common & { relocate?: boolean },
): Promise<void> {
  const { relocate = false } = options;
  const volume = await changing(path, (pool, signal) =>
    pool.grow(name, size, { relocate, pace: new Pace(), signal }),
  );
  tell(options, { volume }, [volumeLine(volume)]);
}

async function remove(path: string, name: string, options: Common): Promise<void> {
  await changing(path, (pool) => pool.delete(name));
  tell(options, { deleted: name }, [`deleted ${name}`]);
}

async function claim(
  path: string,
  name: string,
  options: Common & { by: string; monitor?: string; node?: string },
): Promise<void> {
  const { by, monitor, node } = options;
  if ((monitor === undefined) !== (node === undefined)) {
    const problem = 'a volume that is to be moved while it is used needs both --monitor and --node';
    throw new ShadowferryError('INPUT_FIELD', { field: '--monitor', problem });
  }
  const qemu = monitor === undefined || node === undefined ? {} : { qemu: { monitor, node } };
  const volume = await changing(path, (pool) => pool.hold(name, { name: by, ...qemu }));
  tell(options, { volume }, [volumeLine(volume)]);
}

async function release(path: string, name: string, options: Common): Promise<void> {
  const volume = await changing(path, (pool) => pool.hold(name, undefined), name);
  tell(options, { volume }, [volumeLine(volume)]);
}

function pictureOf(view: View, plan?: Plan): string {
  const names = new Map(view.catalog.volumes.map(({ id, name }) => [id, name]));
  const { start, end } = view.geometry;
  const picture = {
    title: `Pool ${view.path}`,
    summary: summaryOf(view),
    start,
    end,
    volumes: view.catalog.volumes.map(({ holder, ...volume }) => ({ ...volume, used: holder !== undefined })),
    places: (plan?.moves ?? []).map(({ id, to, size }) => ({ name: names.get(id) ?? '', offset: to, size })),
  };
  return renderPoolSvg(picture, 'auto');
}

async function report(path: string, options: Common & { svg?: string }): Promise<void> {
  checkWritable('--svg', options.svg);
  const view = await lookAtPool(path);
  tell(options, { report: reportOf(view) }, reportLines(view, process.stdout.columns ?? 80));
  if (options.svg !== undefined) await writeOutput('--svg', options.svg, pictureOf(view));
}

interface ReorganizeOptions extends Common {
  for?: number;
  budget?: number;
  plan?: boolean;
  bandwidth?: number;
  svg?: string;
}

/** SIGUSR1 pauses and SIGUSR2 resumes; returns the way to stop listening. */
function pausedBySignals(pace: Pace): () => void {
  const pause = () => pace.pause();
  const resume = () => pace.resume();
  process.on('SIGUSR1', pause).on('SIGUSR2', resume);
  return () => void process.off('SIGUSR1', pause).off('SIGUSR2', resume);
}

async function reorganize(path: string, options: ReorganizeOptions): Promise<void> {
  checkWritable('--svg', options.svg);
  const wanted = {
    ...(options.for === undefined ? {} : { size: options.for }),
    ...(options.budget === undefined ? {} : { budget: options.budget }),
  };
  const planned = async (view: View, text: readonly string[] = []) => {
    const plan = planFor(view, wanted);
    const { moves, bytes, reason } = plan;
    tell(options, { plan: { moves, bytes, reason } }, [...planLines(view, plan), ...text]);
    if (options.svg !== undefined) await writeOutput('--svg', options.svg, pictureOf(view, plan));
    return plan;
  };
  if (options.plan) return void (await planned(await lookAtPool(path), ['Nothing was moved.']));
  await changing(path, async (pool, signal) => {
    const plan = await planned(pool.view);
    const pace = new Pace(options.bandwidth);
    const stop = pausedBySignals(pace);
    let told = 0;
    try {
      await runPlan(pool, plan, {
        live: new QemuMover(),
        pace,
        signal,
        progress: (progress) => {
          if (options.json) return print(JSON.stringify({ type: 'pool', progress }));
          const { move, moves, volume, done, bytes } = progress;
          if (move === told) return;
          told = move;
          say(`${move}/${moves} ${volume}, ${formatBytes(done)} of ${formatBytes(bytes)} done`);
        },
      });
    } finally {
      stop();
    }
    tell(options, { report: reportOf(pool.view) }, [summaryOf(pool.view)]);
  });
}

export function registerPool(program: Command): void {
  const pool = program.command('pool').description('contiguous volumes on one device or file');
  const add = (name: string, text: string) =>
    pool
      .command(name)
      .description(text)
      .argument('<pool>', 'the device or file')
      .option('--json', 'print lines of JSON');
  const size = parseBytes('size');
  add('create', 'make a pool')
    .option(
      '--size <bytes>',
      'make a file of this size; else all of what is there is taken',
      parseBytes('--size'),
    )
    .option('--sparse', 'do not take the room of the file now')
    .option('--alignment <bytes>', 'of volumes', parseBytes('--alignment'))
    .option('--volumes <number>', 'room in the catalog', wholeNumber('--volumes', 1, 10_000_000))
    .option('--force', 'overwrite what is there')
    .action(create);
  add('list', 'list the volumes').action(list);
  add('show', 'show a volume, and how QEMU opens it').argument('<volume>').action(show);
  add('allocate', 'make a volume')
    .argument('<name>')
    .argument('<size>', 'such as 10G', size)
    .action(allocate);
  add('grow', 'make a volume larger')
    .argument('<volume>')
    .argument('<size>', 'such as 10G', size)
    .option('--relocate', 'move it if it must be')
    .action(grow);
  add('delete', 'delete a volume').argument('<volume>').action(remove);
  add('claim', 'say who uses a volume')
    .argument('<volume>')
    .requiredOption('--by <name>', 'who, such as the VM')
    .option('--monitor <socket>', 'a free QMP socket of its QEMU, to move it while it is used')
    .option('--node <name>', 'the volume’s node in that QEMU')
    .action(claim);
  add('release', 'say that nobody uses a volume any more').argument('<volume>').action(release);
  add('report', 'show the free space').option('--svg <file>', 'write a picture of it').action(report);
  add('reorganize', 'make a large free extent, or larger ones')
    .option('--for <bytes>', 'make one free extent of this size', parseBytes('--for'))
    .option('--budget <bytes>', 'move at most so many bytes', parseBytes('--budget'))
    .option('--plan', 'only say what would be moved')
    .option('--bandwidth <bytes>', 'copy at most so many bytes in a second', parseBytes('--bandwidth'))
    .option('--svg <file>', 'write a picture of the plan')
    .action(reorganize);
}
