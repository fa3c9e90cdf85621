/**
 * Running programs where the direct device is: in a guest by the QEMU guest agent (`hypervisor/agent`), by another way
 * into the guest, or on this very machine (`local.ts`). What a shadow is captured and a replay program is installed
 * with; never on the critical path.
 */

/** How long a command may run when the caller does not say, ms. */
export const EXEC_TIMEOUT_MS = 30_000;

export interface ExecGuestOptions {
  input?: string | Uint8Array;
  /** The whole environment (nothing is added): give PATH too. Left out: that of whoever starts the program there. */
  env?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
  /** Bounds the whole command, ms. */
  timeoutMs?: number;
  /** Throw GUEST_COMMAND_FAILED on a non-zero exit. */
  check?: boolean;
}

export interface ExecGuestResult {
  /** Exit code; 128 + the signal's number when killed; 127 or 126 when there is no such program, as a shell says. */
  code: number;
  stdout: string;
  stderr: string;
  /** Only the first part of the output was kept (16 MiB). */
  truncated: boolean;
}

/** Runs programs as root in one system, be it a guest or this machine. */
export interface GuestShell {
  /** For messages: `web1@a`, `root@10.0.0.5`, `this machine`. */
  readonly name: string;
  /**
   * Runs a program (no shell) and collects its output. A non-zero exit is a result, unless `check`.
   * @throws ShadowferryError DEADLINE when the command runs too long; GUEST_COMMAND_FAILED with `check`; what the way
   * into the system throws when it is cut.
   */
  exec(argv: readonly [string, ...string[]], options?: ExecGuestOptions): Promise<ExecGuestResult>;
  /** Resolves when commands are taken. @throws what the way in throws when it is not ready in time, or the signal's reason. */
  waitReady(options: { signal: AbortSignal }): Promise<void>;
  /** Lets go of the way in; the system runs on. */
  close(): Promise<void>;
}
