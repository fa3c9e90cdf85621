/**
 * Tells systemd how the service is. Its socket takes datagrams, which Node does not send over Unix sockets, so that
 * systemd's own program does it; without a systemd that asked for it nothing is done.
 */
import { exec } from '../base/exec.ts';
import { findProgram } from '../base/find-program.ts';
import { reasonOf } from '../errors.ts';

export interface Notifier {
  ready: (status: string) => Promise<void>;
  stopping: () => Promise<void>;
  /** Ends the signs of life. */
  close: () => void;
}

const SILENT: Notifier = { ready: async () => {}, stopping: async () => {}, close: () => {} };

/** @param onFailure is told when systemd's program cannot say it */
export function makeNotifier(env: NodeJS.ProcessEnv, onFailure: (why: string) => void): Notifier {
  if (env.NOTIFY_SOCKET === undefined || env.NOTIFY_SOCKET === '') return SILENT;
  const program = findProgram('systemd-notify', env.PATH);
  if (program === undefined) {
    onFailure('systemd-notify is missing');
    return SILENT;
  }
  const say = async (...words: string[]) => {
    try {
      await exec([program, ...words], { env });
    } catch (error) {
      onFailure(reasonOf(error));
    }
  };
  const ours = env.WATCHDOG_PID === undefined || Number(env.WATCHDOG_PID) === process.pid;
  const watchdogMs = ours ? Number(env.WATCHDOG_USEC ?? 0) / 1000 : 0;
  let timer: NodeJS.Timeout | undefined;
  return {
    ready: async (status) => {
      await say('--ready', `--status=${status}`, `MAINPID=${process.pid}`);
      if (watchdogMs <= 0) return;
      timer = setInterval(() => void say('WATCHDOG=1'), Math.max(100, watchdogMs / 3)).unref();
    },
    stopping: () => say('STOPPING=1'),
    close: () => clearInterval(timer),
  };
}
