/** Writes docs/errors.md from the catalogue in src/errors.ts. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errorsPage } from './errors-page.ts';

writeFileSync(join(dirname(import.meta.dirname), 'docs/errors.md'), errorsPage());
