/** A lab that outlives the command that made it: the note by which later commands find it, and the way into it. */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { identify, isAlive, signalProcess, spawnDetached } from '../base/process.ts';
import { ShadowferryError } from '../errors.ts';
import { Lab, type LabOptions } from './lab.ts';
import { removeLabNetwork } from './network/network.ts';
import { enterNamespacesOf, enterUserNamespace, inNamespacesOf, inUserNamespace } from './network/userns.ts';

const Note = z.object({
  schema: z.literal(1),
  id: z.string(),
  // what `lab down` removes, so it must look like a lab's own directory
  directory: z.string().regex(/\/sf-[A-Za-z0-9]{6}$/),
  /** Holds the user namespace of a lab that was not made by root; without it the networks are gone. */
  keeper: z.object({ pid: z.number().int(), startTicks: z.string() }).optional(),
});
type Note = z.infer<typeof Note>;

const noteFile = (state: string) => join(state, 'lab');

function readNote(state: string): Note | undefined {
  try {
    return Note.parse(JSON.parse(readFileSync(noteFile(state), 'utf8')));
  } catch {
    return undefined;
  }
}

/** Writes the note whole and only where there is none: of two that start a lab at once, one is refused. */
function writeNote(state: string, note: Note): void {
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const file = noteFile(state);
  const whole = `${file}.${process.pid}`;
  writeFileSync(whole, JSON.stringify(note), { mode: 0o600 });
  try {
    linkSync(whole, file);
  } catch (error) {
    const there = readNote(state);
    if (there === undefined) throw error;
    throw new ShadowferryError('LAB_EXISTS', { directory: there.directory }, { cause: error });
  } finally {
    rmSync(whole, { force: true });
  }
}

/** @throws LAB_EXISTS when the note of a lab is in the state directory; one that cannot be read is removed. */
export function refuseSecondLab(state: string): void {
  const note = readNote(state);
  if (note === undefined) rmSync(noteFile(state), { force: true });
  else throw new ShadowferryError('LAB_EXISTS', { directory: note.directory });
}

function startKeeper(directory: string): Note['keeper'] {
  const { pid, release } = spawnDetached(['sleep', 'infinity'], join(directory, 'keeper.log'));
  release();
  return identify(pid);
}

/**
 * Makes a lab that stays. It is noted before anything is booted in it, so that `removeStandingLab` finds it whenever
 * this process ends. Call `enterUserNamespace` first.
 * @throws LAB_EXISTS, and what `Lab.create` throws; nothing is left then.
 */
export async function createStandingLab(state: string, options: LabOptions): Promise<Lab> {
  refuseSecondLab(state);
  const lab = await Lab.create(options);
  const keeper = inUserNamespace() ? startKeeper(lab.directory) : undefined;
  try {
    const { id, directory } = lab;
    writeNote(state, { schema: 1, id, directory, ...(keeper === undefined ? {} : { keeper }) });
    return lab;
  } catch (error) {
    await lab.dispose();
    if (keeper !== undefined) signalProcess(keeper, 'SIGKILL');
    throw error;
  }
}

/**
 * Goes to where the standing lab is and opens it. May replace this process by itself in the lab's user namespace, so
 * call it before anything is opened.
 * @throws LAB_MISSING
 */
export async function openStandingLab(state: string): Promise<Lab> {
  const note = readNote(state);
  const missing = () => new ShadowferryError('LAB_MISSING', { directory: note?.directory ?? state });
  if (note === undefined) throw missing();
  if (note.keeper !== undefined) {
    if (!isAlive(note.keeper)) throw missing();
    await enterNamespacesOf(note.keeper.pid);
  } else await enterUserNamespace();
  return Lab.open(note.directory);
}

/** The words before a command of the user's own that bring it to the standing lab's networks; none for root. */
export function wayIn(state: string): string[] {
  const keeper = readNote(state)?.keeper;
  return keeper === undefined ? [] : inNamespacesOf(keeper.pid);
}

/**
 * Ends and removes the standing lab, whatever is left of it. May replace this process as `openStandingLab` does.
 * @returns its directory, or undefined when there is none
 */
export async function removeStandingLab(state: string): Promise<string | undefined> {
  const note = readNote(state);
  if (note === undefined) {
    rmSync(noteFile(state), { force: true });
    return undefined;
  }
  const { id, directory, keeper } = note;
  if (keeper === undefined) await removeLabNetwork(id);
  else if (isAlive(keeper)) {
    await enterNamespacesOf(keeper.pid);
    await removeLabNetwork(id);
    signalProcess(keeper, 'SIGKILL');
  }
  rmSync(directory, { recursive: true, force: true });
  rmSync(noteFile(state), { force: true });
  return directory;
}
