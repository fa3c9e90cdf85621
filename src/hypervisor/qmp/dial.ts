import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const FIRST_RETRY_MS = 2;
const LONGEST_RETRY_MS = 50;

/** A socket that is not there yet, not listened on yet, or whose queue is full: worth another try. */
const NOT_YET = new Set(['ENOENT', 'ECONNREFUSED', 'EAGAIN']);

/**
 * Connects to a unix socket; while nothing listens there, tries again until `signal` aborts.
 * (Watching the directory would not do: the file appears at bind, before the listener accepts.)
 * @throws the signal's reason, or the system's error when trying again cannot help.
 */
export async function dial(path: string, signal: AbortSignal): Promise<Socket> {
  let pause = FIRST_RETRY_MS;
  for (;;) {
    signal.throwIfAborted();
    try {
      return await dialOnce(path, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!NOT_YET.has(codeOf(error))) throw error;
    }
    await delay(pause, undefined, { signal }).catch(() => signal.throwIfAborted());
    pause = Math.min(pause * 2, LONGEST_RETRY_MS);
  }
}

/** `dial` without trying again. @throws the system's error */
export function dialOnce(path: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const onAbort = () =>
      socket.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    const settle = () => {
      signal.removeEventListener('abort', onAbort);
      socket.off('connect', onConnect);
      socket.off('error', onError);
    };
    const onConnect = () => {
      settle();
      resolve(socket);
    };
    const onError = (error: Error) => {
      settle();
      reject(error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('connect', onConnect);
    socket.on('error', onError);
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
