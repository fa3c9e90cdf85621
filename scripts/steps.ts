import { launch } from './bootstrap/launch.mjs';

/** One command of a task such as `lint`. */
export interface Step {
  name: string;
  argv: readonly string[];
}

export interface StepResult {
  name: string;
  /** Exit code; above 128 when a signal ended it. */
  code: number;
  ms: number;
}

/** Seconds with one decimal, for people. */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** Runs one step on this process's standard streams and measures it. */
export async function runStep(step: Step): Promise<StepResult> {
  const started = performance.now();
  const code = await launch(step.argv, process.env);
  return { name: step.name, code, ms: performance.now() - started };
}

/**
 * Runs steps one after the other, all of them even when one fails, so that one run shows everything;
 * only a signal ends it early. Announces each on stderr.
 */
export async function runSteps(steps: readonly Step[]): Promise<StepResult[]> {
  const results: StepResult[] = [];
  for (const step of steps) {
    console.error(`── ${step.name}`);
    const result = await runStep(step);
    results.push(result);
    if (result.code > 128) break;
  }
  return results;
}

/** The exit code of a task: the first that is not zero. */
export function exitCodeOf(results: readonly StepResult[]): number {
  return results.find((result) => result.code !== 0)?.code ?? 0;
}
