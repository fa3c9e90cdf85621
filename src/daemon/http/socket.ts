/** A Unix socket that nobody else could have put there, and that is never open to more than it should be. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import { connect, type Server } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { errnoOf } from '../../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';

export interface SocketOptions {
  path: string;
  /** Permissions, nothing for others. */
  mode: number;
  group?: string | undefined;
}

function unsafe(path: string, why: string): ShadowferryError<'SOCKET_UNSAFE'> {
  return new ShadowferryError('SOCKET_UNSAFE', { path, why });
}

/** The directory of the socket, without links; made where only it is missing. @throws SOCKET_UNSAFE */
function safeDirectory(path: string): string {
  const named = dirname(path);
  let directory: string;
  let stats: Stats;
  try {
    if (statSync(named, { throwIfNoEntry: false }) === undefined) mkdirSync(named, { mode: 0o755 });
    directory = realpathSync(named);
    stats = statSync(directory);
  } catch (error) {
    throw unsafe(path, `its directory cannot be used: ${reasonOf(error)}`);
  }
  if (!stats.isDirectory()) throw unsafe(path, `${named} is no directory`);
  const us = process.geteuid?.() ?? 0;
  if (stats.uid !== us && stats.uid !== 0) throw unsafe(path, `${directory} belongs to user ${stats.uid}`);
  if ((stats.mode & 0o022) !== 0)
    throw unsafe(path, `others may write ${directory} and put something in its place`);
  return directory;
}

/** Whether somebody listens on a socket; a socket without a listener was left by a process that ended. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      const code = errnoOf(error);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false);
      else if (code === 'EAGAIN') resolve(true);
      else reject(error);
    });
  });
}

async function groupId(path: string, name: string): Promise<number> {
  const { stdout, code } = await exec(['getent', 'group', name], { allowFailure: true });
  const id = Number(stdout.split(':')[2]);
  if (code === 0 && Number.isInteger(id) && stdout.startsWith(`${name}:`)) return id;
  throw unsafe(path, `there is no group "${name}"`);
}

/**
 * Listens. The socket is made in a directory that only we can enter, gets its permissions there, and only then its
 * name, in one step that also replaces one that a dead process left.
 * @returns what takes it away again, if it is still ours
 * @throws SOCKET_UNSAFE, LISTEN_FAILED
 */
export async function listenOnSocket(server: Server, options: SocketOptions): Promise<() => void> {
  const directory = safeDirectory(options.path);
  const path = join(directory, basename(options.path));
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there !== undefined) {
    if (there.isSymbolicLink()) throw unsafe(path, 'it is a symbolic link');
    if (!there.isSocket()) throw unsafe(path, 'something that is no socket is there');
    if (await answers(path)) throw unsafe(path, 'another process listens there');
  }
  const gid = options.group === undefined ? undefined : await groupId(path, options.group);
  let scratch: string | undefined;
  try {
    scratch = mkdtempSync(join(directory, '.sf-'));
    const first = join(scratch, 's');
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(first, () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
    if (gid !== undefined) chownSync(first, -1, gid);
    chmodSync(first, options.mode);
    const { ino } = lstatSync(first);
    renameSync(first, path);
    return () => {
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
    };
  } catch (error) {
    server.close();
    throw new ShadowferryError('LISTEN_FAILED', { where: path, why: reasonOf(error) }, { cause: error });
  } finally {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  }
}
