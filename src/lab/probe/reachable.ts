import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const AGAIN_MS = 100;

/**
 * Waits until a host is there, at most so long: the link of a guest that has just booted may need longer than the three
 * seconds after which the kernel says that nobody has the address. Whatever else is wrong with a service, its connection
 * tells.
 */
export async function untilReachable(at: { host: string; port: number }, limitMs: number): Promise<void> {
  const until = Date.now() + limitMs;
  for (;;) {
    const socket = connect(at);
    const signal = AbortSignal.timeout(Math.max(1, until - Date.now()));
    try {
      await once(socket, 'connect', { signal });
      return;
    } catch (error) {
      const nobody = error instanceof Error && 'code' in error && error.code === 'EHOSTUNREACH';
      if (!nobody || Date.now() >= until) return;
    } finally {
      socket.destroy();
    }
    await delay(AGAIN_MS);
  }
}
