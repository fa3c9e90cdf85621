/** A line both ways to a program of this machine that is not our child: two fifos, one for each direction. */
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { exec } from '../base/exec.ts';

export interface FifoPair extends AsyncDisposable {
  /** Our end. */
  readonly stream: Duplex;
  /** What the program reads from. */
  readonly toProgram: string;
  /** What the program writes to. */
  readonly fromProgram: string;
}

/**
 * Makes the fifos in a directory of their own that only this user can enter. They are open both ways here, so that
 * neither side ever sees an end or waits for the other; disposing of them ends our side and removes them.
 * @throws ShadowferryError TOOL_MISSING, COMMAND_FAILED
 */
export async function makeFifoPair(parent: string): Promise<FifoPair> {
  const directory = mkdtempSync(join(parent, 'channel-'));
  const [toProgram, fromProgram] = [join(directory, 'in'), join(directory, 'out')];
  const opened: number[] = [];
  try {
    await exec(['mkfifo', '-m', '600', toProgram, fromProgram]);
    const open = (path: string) => {
      const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
      opened.push(fd);
      return fd;
    };
    const writable = new Socket({ fd: open(toProgram), readable: false, writable: true });
    const readable = new Socket({ fd: open(fromProgram), readable: true, writable: false });
    const stream = Duplex.from({ readable, writable });
    // each tells that it was ended early when we dispose of them; whoever reads the stream hears of it as its close
    for (const each of [stream, readable, writable]) each.on('error', () => {});
    return {
      ...{ stream, toProgram, fromProgram },
      async [Symbol.asyncDispose]() {
        stream.destroy();
        readable.destroy();
        writable.destroy();
        rmSync(directory, { recursive: true, force: true });
      },
    };
  } catch (error) {
    for (const fd of opened) closeSync(fd);
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}
