#!/usr/bin/env node
/**
 * The way in: `node scripts/run.mjs <task> [args…]`, which is what every npm script calls.
 * Makes sure that the npm packages, the pinned Node and the system's programs are there, then runs the task
 * with that Node. Plain JavaScript without dependencies, because it runs before there are any, on any Node
 * from 20. Everything it says goes to stderr: stdout belongs to the task.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dependenciesInStep, installDependencies } from './bootstrap/dependencies.mjs';
import { launch } from './bootstrap/launch.mjs';
import { withLock } from './bootstrap/lock.mjs';
import { BootstrapError, EXIT_INPUT, EXIT_MISSING, say } from './bootstrap/messages.mjs';
import { chooseNode } from './bootstrap/node.mjs';
import { ensurePrograms, missingPrograms, pathWithSystemDirs } from './bootstrap/programs.mjs';

/** What each task runs: a TypeScript file and the arguments before the user's own; none for `setup`. */
const TASKS = {
  setup: undefined,
  demo: ['src/cli.ts', 'demo'],
  cli: ['src/cli.ts'],
  test: ['scripts/test.ts'],
  bench: ['bench/main.ts'],
  faults: ['test/faults/main.ts'],
  lint: ['scripts/lint.ts'],
  build: ['scripts/build.ts'],
};

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const mayInstall = !['1', 'true'].includes(process.env.SHADOWFERRY_NO_INSTALL ?? '');

/** Installs what is missing, under the lock. @param {string} task */
async function prepare(task) {
  if (dependenciesInStep(root) && missingPrograms(task).length === 0) return;
  if (!mayInstall) return report(task);
  await withLock(
    root,
    () => say('another setup of this checkout is under way; waiting for it'),
    () => {
      // Asked again: who held the lock may have done it all.
      if (!dependenciesInStep(root)) installDependencies(root);
      ensurePrograms(task, { mayInstall });
    },
  );
}

/** Says all that is missing in one error, and installs nothing. @param {string} task */
function report(task) {
  /** @type {BootstrapError[]} */
  const problems = [];
  if (!dependenciesInStep(root)) {
    const what = 'the npm packages are not those of package-lock.json';
    problems.push(new BootstrapError(what, `Run "npm ci" in ${root}.`));
  }
  try {
    ensurePrograms(task, { mayInstall });
  } catch (error) {
    if (!(error instanceof BootstrapError)) throw error;
    problems.push(error);
  }
  if (problems.length === 0) return;
  throw new BootstrapError(
    problems.map((problem) => problem.message).join('; '),
    problems.map((problem) => problem.fix).join('\n  '),
  );
}

/** The name under which the table of programs knows this task. @param {string} task @param {string[]} args */
function needsOf(task, args) {
  if (task === 'cli' && args[0] === 'demo') return 'demo';
  if (task === 'test' && args.includes('--unit')) return 'unit';
  return task;
}

async function main() {
  const [task = '', ...args] = process.argv.slice(2);
  if (!Object.hasOwn(TASKS, task)) {
    throw new BootstrapError(
      task === '' ? 'no task given' : `there is no task "${task}"`,
      `Use one of: ${Object.keys(TASKS).join(', ')}.`,
      EXIT_INPUT,
    );
  }
  await prepare(needsOf(task, args));
  const node = chooseNode(root);
  const command = TASKS[/** @type {keyof typeof TASKS} */ (task)];
  if (!command) {
    say('everything is here. Next: npm run demo');
    return 0;
  }
  const [file, ...before] = command;
  const argv = [node, '--disable-warning=ExperimentalWarning', join(root, String(file)), ...before, ...args];
  // without it every process strips the types of all its sources anew: half a second, and 25 MB that stay
  const compiled = process.env.NODE_COMPILE_CACHE ?? join(root, '.cache', 'compiled');
  return launch(argv, { ...process.env, PATH: pathWithSystemDirs(), NODE_COMPILE_CACHE: compiled });
}

main().then(
  (code) => process.exit(code),
  (error) => {
    say(error instanceof BootstrapError ? `${error.message}\n  ${error.fix}` : String(error?.stack ?? error));
    process.exit(error instanceof BootstrapError ? error.exitCode : EXIT_MISSING);
  },
);
