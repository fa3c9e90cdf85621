/** The connection to a VM's QEMU that is kept, and what QEMU's words mean for the VM. */
import { isAlive } from '../../base/process.ts';
import type { Host } from '../../host/host.ts';
import { findQemu, type QemuProcess, recordedQemu } from '../../hypervisor/qemu/process.ts';
import { disconnectVm, findVm, type RunningVm } from '../../migration/vm.ts';

/**
 * `paused`: there with its memory, vCPUs stopped. `incoming`: on its way here. `stopped`: known here, and not running.
 * `gone`: it runs on another host.
 */
export type VmState = 'running' | 'paused' | 'stopped' | 'incoming' | 'gone';

/** A VM that is connected: wholly, or by its monitor alone. */
export type Connection = { kind: 'whole'; vm: RunningVm } | { kind: 'monitor'; qemu: QemuProcess };

export const qemuOf = (connection: Connection): QemuProcess =>
  connection.kind === 'whole' ? connection.vm.qemu : connection.qemu;

/** Closes it; the VM runs on. */
export function letGo(connection: Connection): Promise<void> {
  return connection.kind === 'whole' ? disconnectVm(connection.vm) : connection.qemu.monitor.close();
}

/** What QEMU's run state is to us. */
export function stateOf(status: string, running: boolean): { state: VmState; why: string | undefined } {
  if (running) return { state: 'running', why: undefined };
  if (status === 'inmigrate') return { state: 'incoming', why: 'QEMU waits for its memory' };
  return { state: 'paused', why: status === 'paused' ? undefined : `QEMU says "${status}"` };
}

/** Between two looks whether a process still lives, ms. */
const ALIVE_MS = 20;

/**
 * Connects to a VM's QEMU; undefined when none runs here (any more).
 * @param whole whether it has all the sockets of ours; else only its monitor is connected
 * @throws what connecting throws, the signal's reason
 */
export async function openConnection(
  host: Host,
  name: string,
  whole: boolean,
  signal: AbortSignal,
): Promise<Connection | undefined> {
  const directory = host.vmDirectory(name);
  const recorded = recordedQemu(directory);
  if (recorded === undefined) return undefined;
  const died = new AbortController();
  const look = () => isAlive(recorded.identity) || died.abort(new Error('its QEMU ended'));
  // while it dies its socket is still there, and nobody answers
  const timer = setInterval(look, ALIVE_MS);
  const limit = AbortSignal.any([signal, died.signal]);
  try {
    if (whole) return { kind: 'whole', vm: await findVm(host, name, limit) };
    const qemu = await findQemu(directory, limit);
    return qemu === undefined ? undefined : { kind: 'monitor', qemu };
  } catch (error) {
    if (!isAlive(recorded.identity)) return undefined;
    throw error;
  } finally {
    clearInterval(timer);
  }
}

/** What a connection tells by itself. */
export interface ConnectionNews {
  state: (state: 'running' | 'paused') => void;
  /** Why the guest ends, before it does. */
  farewell: (text: string) => void;
  /** The monitor is not connected any more. */
  closed: () => void;
}

/** @returns what stops the listening */
export function listen(connection: Connection, news: ConnectionNews): (() => void)[] {
  const { monitor } = qemuOf(connection);
  void monitor.closed.then(() => news.closed());
  return [
    monitor.on('STOP', () => news.state('paused')),
    monitor.on('RESUME', () => news.state('running')),
    monitor.on('SHUTDOWN', ({ data }) =>
      news.farewell(data.guest === true ? 'the guest shut down' : 'QEMU was told to end'),
    ),
    monitor.on('GUEST_PANICKED', () => news.farewell('the guest panicked')),
  ];
}
