import { setTimeout as delay } from 'node:timers/promises';
import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';

const LIMIT_MS = 5000;

/**
 * Waits until the interfaces `names` in `netns` carry traffic: the kernel notes a carrier a little after it is there
 * (a bridge's up to a second), and drops what is sent before.
 * @throws ShadowferryError DEADLINE
 */
export async function awaitCarrier(netns: string, names: readonly string[]): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  // Asking again is all there is: iproute2 has no "wait until up".
  for (;;) {
    const { stdout } = await exec(['ip', '-n', netns, '-br', 'link', 'show']);
    const waiting = names.filter((name) => !carries(stdout, name));
    if (waiting.length === 0) return;
    if (performance.now() > end) {
      const what = `the carrier of ${waiting.join(', ')} in ${netns}`;
      throw new ShadowferryError('DEADLINE', { what, ms: LIMIT_MS });
    }
    await delay(2);
  }
}

/** Whether interface `name` is up and has a carrier, by the text that `ip -br link show` prints. */
export function carries(text: string, name: string): boolean {
  const line = text.split('\n').find((one) => one.split(/[\s@]/, 1)[0] === name);
  if (line === undefined) return false;
  const [, state, , flags = ''] = line.split(/\s+/);
  return state !== 'DOWN' && state !== 'LOWERLAYERDOWN' && /[<,]LOWER_UP[,>]/.test(flags);
}
