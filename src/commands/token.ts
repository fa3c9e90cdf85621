/** `shadowferry token create|list|revoke`: secrets by which programs are known to a daemon. */
import type { Command } from 'commander';
import { Role } from '../daemon/auth/roles.ts';
import { createToken, readTokens, revokeToken, type TokenEntry } from '../daemon/auth/tokens.ts';
import { ShadowferryError } from '../errors.ts';
import { print, say, wholeNumber } from './options.ts';

interface Common {
  config: string;
  file?: string;
  json?: boolean;
}

async function fileOf({ config, file }: Common): Promise<string> {
  if (file !== undefined) return file;
  // loaded when it is needed: no other command should wait for a reader of YAML
  const { readConfig, statePaths } = await import('../daemon/config/read.ts');
  return statePaths(await readConfig(config)).tokens;
}

/** Without the hash. */
function line({ hash: _, ...rest }: TokenEntry) {
  return rest;
}

async function create(options: Common & { name: string; role: string; days?: number }): Promise<void> {
  const role = Role.safeParse(options.role);
  if (!role.success) {
    const allowed = Role.options.join(', ');
    throw new ShadowferryError('UNKNOWN_MODE', { field: '--role', value: options.role, allowed });
  }
  const file = await fileOf(options);
  const wanted = { name: options.name, role: role.data, days: options.days ?? null };
  const { token, entry } = createToken(file, wanted);
  if (options.json) return print(JSON.stringify({ type: 'token', token, ...line(entry) }));
  print(token);
  say(
    'It is shown this once. Put it into a file that only its user can read: --token-file, or SHADOWFERRY_TOKEN.',
  );
}

async function list(options: Common): Promise<void> {
  const tokens = readTokens(await fileOf(options));
  if (options.json) return print(JSON.stringify({ type: 'tokens', tokens: tokens.map(line) }));
  const date = (ms: number) => new Date(ms).toISOString().slice(0, 10);
  const lines = tokens.map(({ id, name, role, createdMs, expiresMs, revokedMs }) => {
    const until = expiresMs === null ? 'until revoked' : `until ${date(expiresMs)}`;
    const over = expiresMs !== null && expiresMs <= Date.now() ? ' EXPIRED' : '';
    return `${id}  ${name}  ${role}  made ${date(createdMs)}  ${revokedMs === null ? until + over : 'REVOKED'}`;
  });
  print(lines.join('\n') || 'There is no token.');
}

async function revoke(id: string, options: Common): Promise<void> {
  const entry = revokeToken(await fileOf(options), id);
  if (options.json) print(JSON.stringify({ type: 'token', ...line(entry) }));
  else print(`revoked ${entry.id} (${entry.name}, ${entry.role})`);
}

export function registerToken(program: Command): void {
  const token = program.command('token').description('secrets by which programs are known to a daemon');
  const add = (name: string, text: string) =>
    token
      .command(name)
      .description(text)
      .option('--config <file>', 'the configuration of the daemon', '/etc/shadowferry/daemon.yaml')
      .option('--file <file>', 'the file of the tokens, instead of the one that the configuration names')
      .option('--json', 'print one line of JSON');
  add('create', 'make a token and print it, this once')
    .requiredOption('--name <text>', 'whom it is for')
    .requiredOption('--role <role>', Role.options.join(', '))
    .option(
      '--days <number>',
      'how long it holds; until it is revoked when left out',
      wholeNumber('--days', 1, 36_500),
    )
    .action(create);
  add('list', 'list the tokens, without their secrets').action(list);
  add('revoke', 'take a token back')
    .argument('<id>', 'the first part of a token, as the list shows it')
    .action(revoke);
}
