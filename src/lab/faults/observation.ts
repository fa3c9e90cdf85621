/** What is looked at from outside when a case of the crash matrix has ended. Data only; times are ms since the epoch. */
import type { LAB_HOSTS } from '../lab.ts';

export type HostName = (typeof LAB_HOSTS)[number];

/** A time in which a QEMU ran its vCPUs, by its own events. */
export interface RunningSpan {
  host: HostName;
  pid: number;
  fromMs: number;
  /** null: it still does. */
  toMs: number | null;
}

/** A QEMU of the VM that is there now. */
export interface Copy {
  host: HostName;
  pid: number;
  /** By `query-status`; `unknown` where its monitor does not answer. */
  status: string;
  /** Whether it has the direct device plugged. */
  device: boolean;
}

/** A connection that was opened from outside before the fault. */
export interface ConnectionLook {
  alive: boolean;
  /** Bytes that came back wrong. */
  corrupt: number;
  why?: string | undefined;
}

/** What one host has of the VM, or of migrations. */
export interface HostView {
  taps: readonly string[];
  /** Directories of VMs. */
  directories: readonly string[];
  /** Programs in its namespace that are neither the daemon nor a QEMU of the VM. */
  programs: readonly string[];
  /** Rules that answer for absent VMs. */
  rules: readonly string[];
  /** Why its daemon is not well. */
  illness: string | undefined;
}

export interface ClaimLook {
  host: string;
  device: string;
  migration?: string | undefined;
}

/** A QEMU that the case killed, and how things stood at that moment. */
export interface Killed {
  host: HostName;
  pid: number;
  atMs: number;
  /** Whether memory of the VM was still to come from it (post-copy). */
  holdsPages: boolean;
}

export interface Observation {
  /** Undefined: the fault happened. */
  notInjected: string | undefined;
  killed: Killed | undefined;
  /** Hosts whose daemon ended though nobody killed it; it was started again. */
  crashed: readonly HostName[];
  copies: readonly Copy[];
  spans: readonly RunningSpan[];
  /** A new connection from outside is answered. */
  answers: boolean;
  connections: readonly ConnectionLook[];
  owner: string | undefined;
  claims: readonly ClaimLook[];
  hosts: Record<HostName, HostView>;
  migration: { id: string; source: string; destination: string; ending: string | null } | undefined;
  /** What the journal says of it to people. */
  explanation: { summary: string; lines: number; advice: readonly string[] } | undefined;
  /** The taps that the VM has by its spec. */
  ownTaps: readonly string[];
}
