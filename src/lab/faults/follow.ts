/** Follows the events of a daemon over its Unix socket, also over its death: it comes back for what it missed. */
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { pauseFor } from '../../base/pause-for.ts';
import { ApiEvent } from '../../daemon/api/model.ts';

const AGAIN_MS = 100;

export class Follower {
  readonly #socket: string;
  readonly #ended = new AbortController();
  readonly #events: ApiEvent[] = [];
  readonly #waiting = new Set<() => void>();
  #last = 0;

  constructor(socket: string) {
    this.#socket = socket;
    void this.#follow();
  }

  /** All that came, oldest first. */
  get events(): readonly ApiEvent[] {
    return this.#events;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      await this.#stream().catch(() => {}); // it was killed, or is not there yet
      await pauseFor(AGAIN_MS, signal);
    }
  }

  #stream(): Promise<void> {
    return new Promise((resolve, reject) => {
      const headers = {
        accept: 'text/event-stream',
        'last-event-id': String(this.#last),
      };
      const sent = request({
        socketPath: this.#socket,
        path: '/v1/events',
        headers,
        signal: this.#ended.signal,
      });
      sent.on('error', reject);
      sent.on('response', (response) => {
        const lines = createInterface({ input: response });
        lines.on('line', (line) => this.#take(line));
        lines.on('error', reject); // it passes on what the answer says
        response.on('error', reject);
        response.on('close', resolve);
      });
      sent.end();
    });
  }

  #take(line: string): void {
    if (!line.startsWith('data: ')) return;
    const parsed = ApiEvent.safeParse(JSON.parse(line.slice('data: '.length)));
    if (!parsed.success) return; // `reset`: what is missed is not asked for here
    this.#last = parsed.data.id;
    this.#events.push(parsed.data);
    for (const wake of this.#waiting) wake();
  }

  /** Waits until `there` gives something, looked at with each event. @throws the signal's reason */
  async until<T>(there: (events: readonly ApiEvent[]) => T | undefined, signal: AbortSignal): Promise<T> {
    for (;;) {
      const found = there(this.#events);
      if (found !== undefined) return found;
      signal.throwIfAborted();
      const { promise, resolve } = Promise.withResolvers<void>();
      const wake = () => resolve();
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
      await promise;
      this.#waiting.delete(wake);
      signal.removeEventListener('abort', wake);
    }
  }

  /** Forgets what came, for the next case. */
  forget(): void {
    this.#events.length = 0;
  }

  close(): void {
    this.#ended.abort();
  }
}
