/** A look at this machine: its programs, QEMU, accelerator, networks and devices. */
import { cacheDirectory } from '../base/cache-dir.ts';
import type { Check } from '../base/check.ts';
import { machineChecks, passthroughChecks, readMachine } from '../host/doctor/machine.ts';
import { networkChecks, tryNetworks } from '../host/doctor/network.ts';
import { findTools, toolChecks } from '../host/doctor/tools.ts';
import { type Accelerator, probeAccelerator } from '../hypervisor/qemu/accelerator.ts';
import { probeQemu, type QemuCapabilities } from '../hypervisor/qemu/capabilities.ts';
import { qemuChecks, qemuFailure } from '../hypervisor/qemu/checks.ts';

export interface ExamineOptions {
  /** A path, or the name that is looked for. */
  qemu: string;
  /** Try the accelerator again instead of using the kept answer. */
  fresh: boolean;
  /** Make networks for a try, as the lab does; a daemon needs none. */
  networks: boolean;
  signal: AbortSignal;
}

export interface MachineReport {
  checks: Check[];
  /** Absent when there is no QEMU that starts. */
  qemu?: { path: string; capabilities: QemuCapabilities; accelerator: Accelerator };
}

const STANDARD = 'qemu-system-x86_64';

async function examineQemu(path: string, options: ExamineOptions): Promise<MachineReport> {
  const { signal, fresh } = options;
  try {
    const capabilities = await probeQemu(path, { signal });
    const cacheDir = cacheDirectory();
    const accelerator = await probeAccelerator({ signal, binary: path, cacheDir, fresh });
    return { checks: qemuChecks(capabilities, path, accelerator), qemu: { path, capabilities, accelerator } };
  } catch (error) {
    signal.throwIfAborted();
    return { checks: [qemuFailure(error)] };
  }
}

/** Looks round; one thing after the other, as they would slow each other down, and the accelerator's trial has a clock. */
export async function examineMachine(options: ExamineOptions): Promise<MachineReport> {
  const tools = findTools();
  const path = options.qemu === STANDARD ? tools.get(STANDARD) : options.qemu;
  const { checks, qemu } = path === undefined ? { checks: [] } : await examineQemu(path, options);
  const networks = options.networks ? networkChecks(await tryNetworks(options.signal)) : [];
  const machine = readMachine(cacheDirectory());
  const all = [
    ...machineChecks(machine),
    ...toolChecks(tools),
    ...checks,
    ...networks,
    ...passthroughChecks(machine),
  ];
  return { checks: all, ...(qemu === undefined ? {} : { qemu }) };
}
