/** Ends a copy of the source's QEMU, in whatever state it is, so that the VM can go on there. */
import { setTimeout as delay } from 'node:timers/promises';
import type { QemuProcess } from '../hypervisor/qemu/process.ts';
import { migrateCancel, migrateSetParameters, queryMigrate } from '../hypervisor/qmp/commands.ts';
import { type MigrationInfo, migrationOver } from '../hypervisor/qmp/migration-info.ts';
import { standInForDestination } from '../hypervisor/qmp/stand-in.ts';
import { waitAfter } from './run.ts';

const CANCEL_MS = 30_000;
/** All pages are sent, and only the destination's last word is missing. */
const LAST_WORD_MS = 10_000;
const LOOK_MS = 5;
/** A page in each of QEMU's windows of 100 ms. */
const SLOW_BYTES_PER_S = 10_000;
/** Until the thread that sends has come to the end of its page, ms. */
const ASLEEP_MS = 25;

const over = ({ status }: MigrationInfo) => migrationOver(status);

type Source = Pick<QemuProcess, 'monitor' | 'directory'>;

/** @throws the signal's own reason, which names what was waited for */
async function pause(signal: AbortSignal): Promise<void> {
  await delay(LOOK_MS);
  signal.throwIfAborted();
}

async function untilOver({ monitor }: Source, signal: AbortSignal): Promise<void> {
  while (!over(await queryMigrate(monitor, { signal }))) await pause(signal);
}

/**
 * Lets a post-copy stand nearly still. A cancel breaks the stream before it changes QEMU's state, so that a thread that
 * is writing then takes the copy for one whose link died, and waits for ever; one that sleeps does not notice.
 */
async function slowDown({ monitor }: Source, signal: AbortSignal): Promise<void> {
  await migrateSetParameters(monitor, { 'max-postcopy-bandwidth': SLOW_BYTES_PER_S }, { signal });
}

/**
 * A post-copy that has sent all its pages waits for the destination's last word, and a cancel would let it wait for
 * ever. So the word is waited for; then the copy is over, and the VM is whole here as well.
 */
async function lastWord(source: Source): Promise<boolean> {
  const bound = AbortSignal.timeout(LAST_WORD_MS);
  return untilOver(source, bound).then(
    () => true,
    (error: unknown) => {
      if (bound.aborted) return false;
      throw error;
    },
  );
}

/** @returns whether it ended by itself */
async function endServing(source: Source, signal: AbortSignal): Promise<boolean> {
  await slowDown(source, signal);
  await delay(ASLEEP_MS);
  const { status, ram } = await queryMigrate(source.monitor, { signal });
  if (status === 'postcopy-active' && ram?.remaining === 0) return lastWord(source);
  if (status !== 'postcopy-paused') await migrateCancel(source.monitor, { signal });
  return false;
}

/**
 * Ends the copy; the vCPUs stand still or run afterwards, as versions of QEMU differ. For a VM of which no vCPU has run
 * on the destination. Safe to repeat.
 * @throws DEADLINE when QEMU does not end it, MIGRATION_FAILED when it cannot be brought out of `postcopy-paused`
 */
export async function endCopy(source: Source): Promise<void> {
  const { monitor, directory } = source;
  const signal = waitAfter('the end of the cancelled copy', CANCEL_MS);
  const before = await queryMigrate(monitor, { signal });
  if (over(before)) return;
  if (before.status === 'postcopy-active' && (await endServing(source, signal))) return;
  const { status } = await queryMigrate(monitor, { signal });
  if (status === 'postcopy-paused') {
    await slowDown(source, signal);
    await standInForDestination(monitor, `${directory}/back.sock`, signal, async () => {
      await untilServing(source, signal);
      await delay(ASLEEP_MS);
      await migrateCancel(monitor, { signal });
    });
  } else if (before.status !== 'postcopy-active') await migrateCancel(monitor, { signal });
  await untilOver(source, signal);
}

/** QEMU shook hands with us, and says so a moment later. */
async function untilServing({ monitor }: Source, signal: AbortSignal): Promise<void> {
  while ((await queryMigrate(monitor, { signal })).status !== 'postcopy-active') await pause(signal);
}
