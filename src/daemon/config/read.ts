/** Reads a daemon's configuration. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { OwnershipConfig } from '../../ownership/open.ts';
import { DaemonConfig } from './model.ts';
import { type Problem, readYaml, renderProblems, schemaProblems } from './problems.ts';
import { keysAt } from './reference.ts';

/** A configuration is a page of text; what is larger is something else. */
const MOST_BYTES = 1024 * 1024;

function invalid(file: string, text: string, problems: readonly Problem[]): ShadowferryError {
  const shown = `\n${renderProblems(file, text, problems)}`;
  return new ShadowferryError('CONFIG_INVALID', { file, problems: shown });
}

/** @param file names it in errors @throws CONFIG_INVALID with every problem, each with its place */
export function parseConfig(file: string, text: string): DaemonConfig {
  const yaml = readYaml(text);
  if (yaml.problems.length > 0) throw invalid(file, text, yaml.problems);
  const result = DaemonConfig.safeParse(yaml.value ?? {}, { reportInput: true });
  if (result.success) return result.data;
  throw invalid(file, text, schemaProblems(yaml, result.error.issues, keysAt));
}

/** @throws CONFIG_INVALID, also when it cannot be read */
export async function readConfig(file: string): Promise<DaemonConfig> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
    if (text.length > MOST_BYTES) throw new Error(`it is larger than ${MOST_BYTES} bytes`);
  } catch (error) {
    throw new ShadowferryError('CONFIG_INVALID', { file, problems: reasonOf(error) }, { cause: error });
  }
  return parseConfig(file, text);
}

/** Files that a daemon keeps, from its configuration. */
export function statePaths(config: Pick<DaemonConfig, 'state' | 'tokens'>) {
  const { state, tokens } = config;
  return {
    journal: join(state, 'journal.db'),
    shadows: join(state, 'shadows.db'),
    daemon: join(state, 'daemon.db'),
    vms: join(state, 'vms.db'),
    queue: join(state, 'queue.db'),
    incoming: join(state, 'incoming.db'),
    abilities: join(state, 'abilities.json'),
    lock: join(state, 'daemon.lock'),
    tokens: tokens ?? join(state, 'tokens.json'),
  } as const;
}

/** Where the ownership is kept, from a daemon's configuration. */
export function ownershipOf({
  state,
  ownership,
}: Pick<DaemonConfig, 'state' | 'ownership'>): OwnershipConfig {
  if (ownership.kind === 'etcd') return ownership;
  return { kind: 'sqlite', path: ownership.path ?? join(state, 'ownership.db') };
}
