/** `npm run build`: compiles src to dist for the npm package and copies the files that the code reads at run time. */
import { chmodSync, copyFileSync, globSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { exitCodeOf, runSteps } from './steps.ts';

process.chdir(dirname(import.meta.dirname));
rmSync('dist', { recursive: true, force: true });
const compiler = [process.execPath, 'node_modules/typescript/bin/tsc', '-p', 'scripts/tsconfig.build.json'];
const code = exitCodeOf(await runSteps([{ name: 'compile', argv: compiler }]));
if (code !== 0) process.exit(code);

// Scripts for the guest, the guest's files and the like are found beside the code that uses them.
const assets = globSync('src/**/*', { withFileTypes: true })
  .filter((entry) => entry.isFile() && !entry.name.endsWith('.ts'))
  .map((entry) => relative('.', join(entry.parentPath, entry.name)));
for (const asset of assets) {
  const target = join('dist', relative('src', asset));
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(asset, target);
}
chmodSync('dist/cli.js', 0o755);
console.error(`dist: compiled code and ${assets.length} other files`);
