import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const SERVER = fileURLToPath(new URL('../../src/lab/probe/test-server.ts', import.meta.url));
const ports = z.object({ echo: z.number(), digest: z.number(), source: z.number() });

/** The stand-in for a guest's services, in a process of its own. */
export class GuestServices implements AsyncDisposable {
  readonly ports: z.output<typeof ports>;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;

  private constructor(
    child: ChildProcessByStdio<Writable, Readable, null>,
    listening: z.output<typeof ports>,
  ) {
    this.#child = child;
    this.ports = listening;
  }

  /** Starts it here on any free ports, or where `enter` leads on the guest's own ports. */
  static async start(enter: readonly string[] = []): Promise<GuestServices> {
    const own = enter.length > 0 ? ['--echo', '7', '--digest', '9', '--source', '19'] : [];
    const [program = '', ...args] = [...enter, process.execPath, SERVER, ...own];
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = await once(createInterface({ input: child.stdout }), 'line');
    return new GuestServices(child, ports.parse(JSON.parse(String(line))));
  }

  /** See the commands of test-server.ts. */
  tell(command: string): void {
    this.#child.stdin.write(`${command}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin.end();
    await ended;
  }
}
