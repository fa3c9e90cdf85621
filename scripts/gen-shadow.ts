/** Writes the table of docs/shadow.md from src/shadow/net/table. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { shadowPage } from './shadow-page.ts';

const file = join(dirname(import.meta.dirname), 'docs/shadow.md');
writeFileSync(file, shadowPage(readFileSync(file, 'utf8')));
