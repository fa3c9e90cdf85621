/** How a VM's guest is brought to shut down, and its QEMU to end. */
import { deadline } from '../../base/deadline.ts';
import { isAlive, signalProcess, untilEnded } from '../../base/process.ts';
import { ShadowferryError } from '../../errors.ts';
import type { QemuProcess } from '../../hypervisor/qemu/process.ts';
import { queryStatus, quit } from '../../hypervisor/qmp/commands.ts';
import { type Connection, qemuOf } from './connection.ts';

const ANSWER_MS = 5_000;
/** An agent that lives answers within it, also under emulation; ACPI is the way for others. */
const AGENT_MS = 1_500;
/** From `quit`, or from the guest's end, to the end of the process; it frees the guest's memory meanwhile. */
const END_MS = 10_000;

export interface StopOptions {
  /** End QEMU at once, without asking the guest. */
  force: boolean;
  /** How long the guest has to shut down, ms; QEMU is ended then. */
  waitMs: number;
}

/** How a VM ended. */
export interface Stopped {
  /** `agent`, `acpi`: the guest shut down, and what it was asked by last. `forced`: QEMU was ended. */
  how: 'agent' | 'acpi' | 'forced' | 'was-not-running';
  /** Why no other way was taken, or did not do. */
  why: string;
}

/** Asks the guest in the ways there are, and waits for its end. */
export async function askGuest(connection: Connection, { force, waitMs }: StopOptions): Promise<Stopped> {
  if (force) return { how: 'forced', why: 'it was asked for' };
  const qemu = qemuOf(connection);
  const { monitor } = qemu;
  const { running } = await queryStatus(monitor, { signal: deadline('the monitor', ANSWER_MS) });
  if (!running) return { how: 'forced', why: 'its vCPUs stand still, so the guest hears nothing' };
  const untilMs = performance.now() + waitMs;
  const silent = await tellAgent(connection, waitMs);
  // a guest that has begun to shut down takes ACPI's word for what it does already
  if (silent === undefined && (await goneWithin(qemu, waitMs / 2)))
    return { how: 'agent', why: 'its agent took it' };
  const why = silent ?? 'its agent took it, and it did not end in half of the time';
  try {
    await monitor.execute('system_powerdown', undefined, { signal: deadline('the monitor', ANSWER_MS) });
  } catch (error) {
    // it ends just now
    if (!(error instanceof ShadowferryError) || error.code !== 'QMP_CLOSED') throw error;
  }
  const leftMs = Math.max(1, untilMs - performance.now());
  if (await goneWithin(qemu, leftMs)) return { how: 'acpi', why };
  return { how: 'forced', why: `the guest did not shut down within ${Math.round(waitMs / 1000)} s (${why})` };
}

/** @returns why its agent could not be told */
async function tellAgent(connection: Connection, waitMs: number): Promise<string | undefined> {
  if (connection.kind === 'monitor') return 'nothing but its monitor is connected';
  const tryMs = Math.min(AGENT_MS, Math.max(1, waitMs / 4));
  return connection.vm.agent.shutDown({ signal: deadline('the agent', waitMs), tryMs });
}

/** Whether the process ends in time. Its monitor's end comes a little before that. */
async function goneWithin({ monitor, identity }: QemuProcess, ms: number): Promise<boolean> {
  const late = deadline('the end of QEMU', ms);
  const aborted = new Promise<void>((resolve) =>
    late.addEventListener('abort', () => resolve(), { once: true }),
  );
  await Promise.race([monitor.closed, aborted]);
  return late.aborted ? !isAlive(identity) : untilEnded(identity, END_MS);
}

/** Ends QEMU, by force when it does not do it by itself. */
export async function end(qemu: QemuProcess): Promise<void> {
  await quit(qemu.monitor, { signal: deadline('the monitor', ANSWER_MS) }).catch(() => {});
  if (await goneWithin(qemu, END_MS)) return;
  signalProcess(qemu.identity, 'SIGKILL');
  await goneWithin(qemu, END_MS);
}
