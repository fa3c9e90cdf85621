/**
 * One bootstrap at a time for each checkout. The lock is a listening socket in Linux's abstract namespace: the
 * kernel gives the name to one process and takes it back when that process ends, however it ends, so there is
 * no stale lock; and who waits is connected to the holder and woken when it closes, without polling.
 */
import { createHash } from 'node:crypto';
import { connect, createServer } from 'node:net';

/** @param {string} root */
function lockName(root) {
  const hash = createHash('sha256').update(root).digest('hex');
  // Older Nodes pad the name with NULs to the full 108 bytes, newer ones do not: fill it, and both agree.
  return `\0shadowferry-bootstrap-${hash}`.padEnd(108, '.');
}

/** @param {string} name @returns {Promise<import('node:net').Server | undefined>} undefined when it is taken */
function tryListen(name) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(name, () => resolve(server));
  });
}

/** @param {string} name Resolves when the holder has let go. */
function holderGone(name) {
  return new Promise((resolve) => {
    const socket = connect(name);
    socket.on('error', () => {}); // it ended in between
    socket.once('close', resolve);
    socket.resume();
  });
}

/**
 * Runs `work` while holding the lock of this checkout.
 * @template T
 * @param {string} root
 * @param {() => void} onWait called once when another process holds it
 * @param {() => T | Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(root, onWait, work) {
  if (process.platform !== 'linux') return work(); // no abstract namespace; npm and apt have locks of their own
  const name = lockName(root);
  let server = await tryListen(name);
  if (!server) onWait();
  while (!server) {
    await holderGone(name);
    server = await tryListen(name);
  }
  /** @type {Set<import('node:net').Socket>} */
  const waiters = new Set();
  server.on('connection', (socket) => {
    waiters.add(socket);
    socket.on('error', () => {});
  });
  try {
    return await work();
  } finally {
    server.close();
    for (const socket of waiters) socket.destroy();
  }
}
