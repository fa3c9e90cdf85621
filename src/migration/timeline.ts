/** When things happened in one migration, in milliseconds since it started. */
import { nowMs } from '../base/clock.ts';
import type { Phase } from './machine.ts';

export interface PhaseTime {
  name: Phase;
  startMs: number;
  durationMs: number;
}

export interface StepTime {
  phase: Phase;
  name: string;
  startMs: number;
  durationMs: number;
  /** Lies on the path that traffic waits for. */
  critical: boolean;
  detail?: string;
}

export interface Mark {
  name: string;
  atMs: number;
  detail?: string;
}

export class Timeline {
  readonly startedAtMs = nowMs();
  readonly phases: PhaseTime[] = [];
  readonly steps: StepTime[] = [];
  readonly marks: Mark[] = [];

  /** Milliseconds since the start, of an epoch time or of now. */
  relative(epochMs = nowMs()): number {
    return Math.round((epochMs - this.startedAtMs) * 1000) / 1000;
  }

  /** @param detail what tells marks of one name apart, such as the NIC where there are several */
  mark(name: string, epochMs = nowMs(), detail?: string): void {
    this.marks.push({ name, atMs: this.relative(epochMs), ...(detail === undefined ? {} : { detail }) });
  }

  /** When the first mark of this name was made (and of this detail, where one is given and marks have it). */
  at(name: string, detail?: string): number | undefined {
    return this.marks.find(
      (mark) =>
        mark.name === name && (detail === undefined || mark.detail === undefined || mark.detail === detail),
    )?.atMs;
  }

  async phase<T>(name: Phase, act: () => Promise<T>): Promise<T> {
    const startMs = this.relative();
    try {
      return await act();
    } finally {
      this.phases.push({ name, startMs, durationMs: this.relative() - startMs });
    }
  }

  async step<T>(phase: Phase, name: string, critical: boolean, act: () => Promise<T>): Promise<T> {
    const startMs = this.relative();
    try {
      return await act();
    } finally {
      this.steps.push({ phase, name, startMs, durationMs: this.relative() - startMs, critical });
    }
  }
}
