/**
 * One line of the log for each request that changes something or was refused; reads that went well are told at level
 * "debug". Who is refused for asking too often is told of once a second, with how often: a flood of requests makes no
 * flood of lines.
 */
import type { Logger } from 'pino';

export interface Answered {
  requestId: string;
  method: string;
  /** Name of the call. */
  operation: string;
  status: number;
  principal: string;
  /** ms. */
  elapsedTime: number;
}

const PAUSE_MS = 1_000;
/** What says "not so often", and "not now". */
const CROWDED: readonly number[] = [429, 503];

interface Crowd {
  principal: string;
  status: number;
  /** Without a line of their own, since the last one. */
  untold: number;
}

export class RequestLog {
  readonly #log: Pick<Logger, 'info' | 'debug'>;
  readonly #crowds = new Map<string, Crowd>();
  #timer: NodeJS.Timeout | undefined;

  constructor(log: Pick<Logger, 'info' | 'debug'>) {
    this.#log = log;
  }

  answered({ elapsedTime, ...line }: Answered): void {
    const { method, status, principal, operation } = line;
    if (CROWDED.includes(status) && !this.#isFirst(principal, status)) return;
    const quiet = operation === 'health' || operation === 'metrics' || (method === 'GET' && status < 400);
    const told = { ...line, ms: Math.round(elapsedTime) };
    if (quiet) this.#log.debug(told, 'request');
    else this.#log.info(told, 'request');
  }

  /** Tells what is left to tell. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#tell();
    this.#crowds.clear();
  }

  #isFirst(principal: string, status: number): boolean {
    const key = `${status} ${principal}`;
    const crowd = this.#crowds.get(key);
    if (crowd !== undefined) {
      crowd.untold += 1;
      return false;
    }
    this.#crowds.set(key, { principal, status, untold: 0 });
    this.#timer ??= setInterval(() => this.#tell(), PAUSE_MS).unref();
    return true;
  }

  #tell(): void {
    for (const [key, { principal, status, untold }] of this.#crowds) {
      if (untold === 0) this.#crowds.delete(key);
      else {
        this.#log.info({ principal, status, requests: untold }, 'more requests, refused like the last one');
        this.#crowds.set(key, { principal, status, untold: 0 });
      }
    }
    if (this.#crowds.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
