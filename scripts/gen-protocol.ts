/** Writes the tables of docs/protocol.md from src/migration/protocol. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { protocolPage } from './protocol-page.ts';

const file = join(dirname(import.meta.dirname), 'docs/protocol.md');
writeFileSync(file, protocolPage(readFileSync(file, 'utf8')));
