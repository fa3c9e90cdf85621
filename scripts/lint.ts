/** `npm run lint`: style, types, import directions, shell scripts. Runs all of them, then says which failed. */
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { exitCodeOf, runSteps, type Step, seconds } from './steps.ts';

const root = dirname(import.meta.dirname);
process.chdir(root);
const node = process.execPath;
const shellScripts = globSync(['src/**/*.sh', 'test/**/*.sh', 'bench/**/*.sh']).sort();

const steps: Step[] = [
  { name: 'biome', argv: [node, 'node_modules/@biomejs/biome/bin/biome', 'check', '.'] },
  { name: 'types', argv: [node, 'node_modules/typescript/bin/tsc'] },
  { name: 'imports', argv: [node, join('scripts', 'check-imports.ts')] },
  // The guest's scripts run under dash and busybox ash: plain POSIX sh.
  ...(shellScripts.length > 0
    ? [{ name: 'shellcheck', argv: ['shellcheck', '--shell=sh', ...shellScripts] }]
    : []),
  { name: 'shellcheck (ci)', argv: ['shellcheck', '.ci/run'] },
];

const results = await runSteps(steps);
for (const { name, code, ms } of results) {
  console.error(`${code === 0 ? '✓' : '✗'} ${name} (${seconds(ms)})`);
}
process.exitCode = exitCodeOf(results);
