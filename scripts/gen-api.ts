/** Writes docs/api.md and docs/config.md from the schemas of the daemon. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { configPage } from '../src/daemon/config/reference.ts';
import { apiPage } from './api-page.ts';

const docs = join(dirname(import.meta.dirname), 'docs');
writeFileSync(join(docs, 'api.md'), apiPage());
writeFileSync(join(docs, 'config.md'), configPage());
