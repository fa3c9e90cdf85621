/** The connection to a VM's QEMU that is kept, and what QEMU's words mean for the VM. */
import type { QemuProcess } from '../../hypervisor/qemu/process.ts';
import { disconnectVm, type RunningVm } from '../../migration/vm.ts';

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
