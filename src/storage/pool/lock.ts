/** The lock of a pool: the kernel's, on the device itself, so that it goes when the process ends, however it ends. */
import { spawn } from 'node:child_process';
import { ShadowferryError } from '../../errors.ts';

/** What flock(1) is told to say when another has the lock. */
const HELD = 99;

/**
 * Locks an open file or device. Node has no flock(2); flock(1) locks the descriptor that it inherits, and as the lock
 * belongs to the open file and not to a process, it stays with ours when flock(1) has ended.
 * @throws POOL_BUSY, TOOL_MISSING
 */
export async function takeLock(pool: string, descriptor: number): Promise<void> {
  const child = spawn('flock', ['--exclusive', '--nonblock', '--conflict-exit-code', `${HELD}`, '3'], {
    stdio: ['ignore', 'ignore', 'ignore', descriptor],
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) =>
      reject(
        new ShadowferryError(
          'TOOL_MISSING',
          { tool: 'flock', install: 'Install util-linux.' },
          { cause: error },
        ),
      ),
    );
    child.once('exit', resolve);
  });
  if (code === 0) return;
  const why = code === HELD ? 'another process changes it now' : `flock ended with ${code}`;
  throw new ShadowferryError('POOL_BUSY', { pool, why });
}
