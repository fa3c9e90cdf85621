/** `shadowferry pki init|issue|show|revoke`: the certificates of the daemons and of those who ask them. */
import { isIP } from 'node:net';
import type { Command } from 'commander';
import { Role } from '../daemon/auth/roles.ts';
import type { CertificateFacts } from '../daemon/pki/certificate.ts';
import type { Listed } from '../daemon/pki/directory.ts';
import type { Holder } from '../daemon/pki/names.ts';
import { ShadowferryError } from '../errors.ts';
import { print, say, wholeNumber } from './options.ts';

/** Loaded when it is needed: the certificate library is large, and every command would wait for it. */
const directory = () => import('../daemon/pki/directory.ts');

const DIRECTORY = '/etc/shadowferry/pki';
const DAY_MS = 86_400_000;
/** A certificate that ends so soon is warned of. */
const SOON_DAYS = 30;

interface Common {
  directory: string;
  json?: boolean;
}

const date = (ms: number) => new Date(ms).toISOString().slice(0, 10);

function factsLine(facts: CertificateFacts) {
  const { holder, notAfterMs, notBeforeMs, ...rest } = facts;
  return {
    ...rest,
    role: holder?.kind === 'client' ? holder.role : null,
    host: holder?.kind === 'host' ? holder.name : null,
    notBeforeMs,
    notAfterMs,
  };
}

function describe({ holder, ca }: CertificateFacts): string {
  if (ca) return 'CA';
  if (holder === undefined) return 'of no role';
  return holder.kind === 'host' ? `host ${holder.name}` : holder.role;
}

/** What is to be said of when a certificate ends. */
function expiry({ notAfterMs }: CertificateFacts, nowMs: number): { text: string; soon: boolean } {
  const days = Math.floor((notAfterMs - nowMs) / DAY_MS);
  if (days < 0) return { text: `EXPIRED ${date(notAfterMs)}`, soon: true };
  return { text: `until ${date(notAfterMs)} (${days} days)`, soon: days < SOON_DAYS };
}

function render({ file, facts, revoked }: Listed, nowMs: number): string {
  const { text, soon } = expiry(facts, nowMs);
  const state = revoked ? 'REVOKED' : soon && !text.startsWith('EXPIRED') ? `${text}  ENDS SOON` : text;
  const names = facts.names.length === 0 ? '' : `  for ${facts.names.join(', ')}`;
  return `${file}  ${describe(facts)}  ${state}  serial ${facts.serial}${names}`;
}

async function init(options: Common & { name: string; days: number }): Promise<void> {
  const facts = await (await directory()).initCa(options.directory, options.name, options.days);
  if (options.json) return print(JSON.stringify({ type: 'pki', certificate: factsLine(facts) }));
  print(`${options.directory}/ca.crt  CA  until ${date(facts.notAfterMs)}`);
  say(`Keep ${options.directory}/ca.key where no daemon runs: whoever has it can make an administrator.`);
}

function holderOf(name: string, options: { host?: boolean; role?: string }): Holder {
  if ((options.host ?? false) === (options.role !== undefined)) {
    const problem = 'either --host, for a daemon, or --role, for somebody who asks it, is needed';
    throw new ShadowferryError('INPUT_FIELD', { field: '--role', problem });
  }
  if (options.host) return { kind: 'host', name };
  const role = Role.safeParse(options.role);
  if (role.success) return { kind: 'client', name, role: role.data };
  const allowed = Role.options.join(', ');
  throw new ShadowferryError('UNKNOWN_MODE', { field: '--role', value: options.role ?? '', allowed });
}

function addressesOf(holder: Holder, given: readonly string[]): string[] {
  const bad = given.find(
    (text) => isIP(text) === 0 && !/^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(text),
  );
  if (bad !== undefined) {
    const problem = `"${bad}" is neither a name of DNS nor an IP address`;
    throw new ShadowferryError('INPUT_FIELD', { field: '--address', problem });
  }
  if (holder.kind === 'host') return [...new Set([holder.name, ...given])];
  if (given.length === 0) return [];
  throw new ShadowferryError('INPUT_FIELD', {
    field: '--address',
    problem: 'is for a certificate of a host',
  });
}

async function issue(
  name: string,
  options: Common & { host?: boolean; role?: string; address: string[]; days: number },
): Promise<void> {
  const holder = holderOf(name, options);
  if (holder.kind === 'host' && !/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) {
    const problem = `"${name}" is no name of a host: lower-case letters, digits and dashes`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'name', problem });
  }
  const addresses = addressesOf(holder, options.address);
  const { facts, certificate, key } = await (await directory()).issueIn(
    options.directory,
    holder,
    addresses,
    options.days,
  );
  if (options.json)
    print(JSON.stringify({ type: 'pki', certificate: factsLine(facts), files: { certificate, key } }));
  else
    print(
      `${certificate}  ${describe(facts)}  until ${date(facts.notAfterMs)}  serial ${facts.serial}\n${key}`,
    );
}

async function show(options: Common): Promise<void> {
  const all = (await directory()).listIn(options.directory);
  const nowMs = Date.now();
  if (options.json) {
    const told = all.map(({ file, facts, revoked }) => ({ file, revoked, ...factsLine(facts) }));
    return print(JSON.stringify({ type: 'pki', certificates: told }));
  }
  print(all.map((each) => render(each, nowMs)).join('\n') || 'There is no certificate.');
  const soon = all.filter(({ facts, revoked }) => !revoked && expiry(facts, nowMs).soon);
  if (soon.length > 0) say(`Make new ones in time: ${soon.map(({ file }) => file).join(', ')}`);
}

async function revoke(which: string, options: Common & { reason: string }): Promise<void> {
  const { serial, name } = (await directory()).revokeIn(options.directory, which, options.reason);
  if (options.json) return print(JSON.stringify({ type: 'pki', revoked: { serial, name } }));
  print(`revoked ${serial}${name === '' ? '' : ` (${name})`}`);
  say(
    `A daemon takes it from ${options.directory}/revoked.json at once where that is its "listen.revoked"; copy it to the other hosts.`,
  );
}

export function registerPki(program: Command): void {
  const pki = program.command('pki').description('certificates for the daemons and for those who ask them');
  const add = (name: string, text: string) =>
    pki
      .command(name)
      .description(text)
      .option('--directory <path>', 'where the CA and its certificates are', DIRECTORY)
      .option('--json', 'print one line of JSON');
  const days = (standard: number) =>
    ['--days <number>', 'how long it holds', wholeNumber('--days', 1, 36_500), standard] as const;
  add('init', 'make a CA')
    .option('--name <text>', 'its name, for people', 'Shadowferry CA')
    .option(...days(3650))
    .action(init);
  add('issue', 'make a certificate with its key')
    .argument('<name>', 'of the host, the person or the program')
    .option('--host', 'for the daemon of a host')
    .option('--role <role>', `for somebody who asks a daemon: ${Role.options.join(', ')}`)
    .option(
      '--address <text>',
      'a name or IP address that the host is reached under; may be repeated',
      (text: string, before: string[]) => [...before, text],
      [],
    )
    .option(...days(397))
    .action(issue);
  add('show', 'list the certificates, and when they end').action(show);
  add('revoke', 'take a certificate back')
    .argument('<certificate>', 'its name or its serial number')
    .option('--reason <text>', 'why, for the list', 'not given')
    .action(revoke);
}
