/** Checks the directions of imports between the parts of src, and that no files import each other in a circle. */
import { globSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { checkTree } from './import-rules.ts';

process.chdir(dirname(import.meta.dirname));
const files = globSync(['src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts', 'scripts/**/*.ts']);
const violations = checkTree(new Map(files.map((file) => [file, readFileSync(file, 'utf8')])));
for (const { file, line, rule } of violations) console.error(`${file}:${line}: ${rule}`);
if (violations.length > 0) {
  console.error(`${violations.length} imports break the rules`);
  process.exitCode = 1;
} else {
  console.error(`imports of ${files.length} files are in order`);
}
