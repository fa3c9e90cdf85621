/** What a migration tells while it runs, as events of the API and lines of the log; progress is thinned. */
import type { Logger } from 'pino';
import type { MigrationEvent, ProgressEvent } from '../../migration/events.ts';

/** Progress is told so often at most, ms. */
const PROGRESS_MS = 1_000;

export type Publish = (type: string, data: Record<string, unknown>) => void;

export interface Told {
  /** Id that was given to who asked, and of the attempt. */
  id: string;
  attempt: string;
  vm: string;
}

/** How far a migration is: its phase, and the last that is known of its copy. */
export interface Progress {
  phase: string | undefined;
  copy: ProgressEvent | undefined;
}

/** Takes the events of one attempt. */
export class Teller {
  readonly progress: Progress = { phase: undefined, copy: undefined };
  readonly #about: Told;
  readonly #publish: Publish;
  readonly #log: Logger;
  readonly #nowMs: () => number;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(about: Told, publish: Publish, log: Logger, nowMs: () => number = Date.now) {
    this.#about = about;
    this.#publish = publish;
    this.#log = log.child({ migration: about.id, attempt: about.attempt, vm: about.vm });
    this.#nowMs = nowMs;
  }

  readonly emit = (event: MigrationEvent): void => {
    switch (event.type) {
      case 'phase':
        this.progress.phase = event.phase;
        this.#log.info({ phase: event.phase }, 'migration phase');
        this.#say('migration.phase', { phase: event.phase, reason: event.reason }, event.atMs);
        break;
      case 'progress':
        this.#copy(event);
        break;
      case 'decision':
        this.#log.info({ action: event.action, reason: event.reason }, 'migration decision');
        this.#say('migration.decision', { action: event.action, reason: event.reason }, event.atMs);
        break;
      case 'warning':
        this.#log.warn({ text: event.text }, 'migration warning');
        this.#say('migration.warning', { text: event.text }, event.atMs);
        break;
      case 'undo':
        this.#log.info({ what: event.what }, 'migration step taken back');
        this.#say('migration.undo', { what: event.what }, event.atMs);
        break;
      case 'mark': // in the result: they come while traffic waits
        break;
      default:
        event satisfies never;
    }
  };

  #copy(event: ProgressEvent): void {
    const another = this.progress.copy?.phase !== event.phase || this.progress.copy.round !== event.round;
    this.progress.copy = event;
    const now = this.#nowMs();
    if (!another && now - this.#lastMs < PROGRESS_MS) return;
    this.#lastMs = now;
    const { of, residual } = event;
    const { phase, transferred, remaining, total, rateBps, dirtyRateBps, round, etaMs, reason } = event;
    const figures = { phase, transferred, remaining, total, rateBps, dirtyRateBps, round, etaMs, reason };
    const more = { residual, ...(of === undefined ? {} : { of }) };
    this.#say('migration.progress', { ...figures, ...more }, event.atMs);
  }

  #say(type: string, data: Record<string, unknown>, atMs: number): void {
    const { id, attempt, vm } = this.#about;
    this.#publish(type, {
      id,
      ...(attempt === id ? {} : { attempt }),
      vm,
      sinceMs: Math.round(atMs),
      ...data,
    });
  }
}
