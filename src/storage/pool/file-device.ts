/** A pool's device as the system has it: a block device or a regular file. */
import { constants, readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { exec } from '../../base/exec.ts';
import { errnoOf } from '../../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { PoolDevice } from './device.ts';
import { takeLock } from './lock.ts';
import type { Extent } from './model.ts';

const ZEROS = Buffer.alloc(1024 * 1024);

/** Bytes of an open block device: the kernel counts in sectors of 512. */
function blockDeviceSize(rdev: number): number {
  const major = ((rdev >>> 8) & 0xfff) >>> 0;
  const minor = ((rdev & 0xff) | ((rdev >>> 12) & 0xfff00)) >>> 0;
  return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
}

async function openHandle(path: string, flags: number): Promise<FileHandle> {
  try {
    return await open(path, flags);
  } catch (error) {
    if (errnoOf(error) === 'EBUSY')
      throw new ShadowferryError(
        'POOL_BUSY',
        { pool: path, why: 'the device is mounted or has another user' },
        { cause: error },
      );
    throw new ShadowferryError(
      'INPUT_FIELD',
      { field: 'pool', problem: `${path} cannot be opened: ${reasonOf(error)}` },
      { cause: error },
    );
  }
}

export class FileDevice implements PoolDevice {
  readonly path: string;
  readonly size: number;
  readonly #handle: FileHandle;
  readonly #isBlock: boolean;

  private constructor(path: string, size: number, handle: FileHandle, isBlock: boolean) {
    this.path = path;
    this.size = size;
    this.#handle = handle;
    this.#isBlock = isBlock;
  }

  /**
   * Opens it. For `change` it is locked against every other Shadowferry that wants to change it, until this process
   * ends or closes it; a block device is also claimed from the kernel, which refuses when it is mounted.
   * @throws INPUT_FIELD when it cannot be opened or is neither file nor block device, POOL_BUSY
   */
  static async open(path: string, use: 'look' | 'change'): Promise<FileDevice> {
    let handle = await openHandle(path, use === 'look' ? constants.O_RDONLY : constants.O_RDWR);
    try {
      const stats = await handle.stat();
      if (!stats.isFile() && !stats.isBlockDevice()) {
        const problem = `${path} is neither a regular file nor a block device`;
        throw new ShadowferryError('INPUT_FIELD', { field: 'pool', problem });
      }
      if (use === 'change') {
        if (stats.isBlockDevice()) {
          await handle.close();
          handle = await openHandle(path, constants.O_RDWR | constants.O_EXCL);
        }
        await takeLock(path, handle.fd);
      }
      const size = stats.isFile() ? stats.size : blockDeviceSize(stats.rdev);
      return new FileDevice(path, size, handle, stats.isBlockDevice());
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.#handle.read(buffer, done, length - done, offset + done);
      if (bytesRead === 0) throw new Error(`${this.path} ends at ${offset + done}`);
      done += bytesRead;
    }
    return buffer;
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    let done = 0;
    while (done < data.length) {
      const { bytesWritten } = await this.#handle.write(data, done, data.length - done, offset + done);
      done += bytesWritten;
    }
  }

  async sync(): Promise<void> {
    await this.#handle.datasync();
  }

  /** By the file system or the device where it can, which is fast and keeps the room; else by writing zeros. */
  async zero({ offset, size }: Extent): Promise<void> {
    const [at, length] = [`${offset}`, `${size}`];
    const argv = this.#isBlock
      ? (['blkdiscard', '--zeroout', '--offset', at, '--length', length, this.path] as const)
      : ([
          'fallocate',
          '--zero-range',
          '--keep-size',
          '--offset',
          at,
          '--length',
          length,
          this.path,
        ] as const);
    try {
      if ((await exec(argv, { allowFailure: true })).code === 0) return;
    } catch (error) {
      if (!(error instanceof ShadowferryError) || error.code !== 'TOOL_MISSING') throw error;
    }
    for (let done = 0; done < size; done += ZEROS.length)
      await this.write(offset + done, ZEROS.subarray(0, Math.min(ZEROS.length, size - done)));
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
