/** The directory of a CA: `ca.crt`, `ca.key`, `NAME.crt`, `NAME.key`, `revoked.json`. */
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readNeeded, writeWhole } from '../../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import {
  type CertificateFacts,
  canonicalSerial,
  factsOf,
  type Issued,
  issue,
  makeCa,
} from './certificate.ts';
import type { Holder } from './names.ts';
import { readRevoked, revokedText } from './revoked.ts';

const caFiles = (directory: string) => ({
  certificate: join(directory, 'ca.crt'),
  key: join(directory, 'ca.key'),
});

export const revokedFile = (directory: string) => join(directory, 'revoked.json');

/** Names become names of files. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$/;

function checkName(field: string, name: string): void {
  if (NAME.test(name) && name !== 'ca') return;
  const problem = `"${name}" is not a name of letters, digits and ._@- (at most 63, and not "ca")`;
  throw new ShadowferryError('INPUT_FIELD', { field, problem });
}

/** The key first: a certificate without its key is useless, a key alone is harmless. */
function save(issued: Issued, files: { certificate: string; key: string }): void {
  writeWhole(files.key, issued.key, 0o600, 'refuse');
  writeWhole(files.certificate, issued.certificate, 0o644, 'refuse');
}

/** Makes a CA in a directory. @throws FILE_EXISTS where there is one */
export async function initCa(directory: string, name: string, days: number): Promise<CertificateFacts> {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new ShadowferryError('FILE_UNSAFE', { file: directory, why: reasonOf(error) });
  }
  const ca = await makeCa(name, days);
  save(ca, caFiles(directory));
  return factsOf(ca.certificate, caFiles(directory).certificate);
}

/** @throws FILE_UNSAFE, FILE_EXISTS, PKI_INVALID, INPUT_FIELD */
export async function issueIn(
  directory: string,
  holder: Holder,
  names: readonly string[],
  days: number,
): Promise<{ facts: CertificateFacts; certificate: string; key: string }> {
  checkName('name', holder.name);
  const { certificate, key } = caFiles(directory);
  const ca = { certificate: readNeeded(certificate), key: readNeeded(key, true) };
  const files = {
    certificate: join(directory, `${holder.name}.crt`),
    key: join(directory, `${holder.name}.key`),
  };
  const issued = await issue(ca, certificate, holder, names, days);
  save(issued, files);
  return { facts: factsOf(issued.certificate, files.certificate), ...files };
}

/** A certificate of the directory, with what is to be known of it. */
export interface Listed {
  file: string;
  facts: CertificateFacts;
  revoked: boolean;
}

/** All certificates of the directory, by file name. @throws PKI_INVALID, FILE_UNSAFE */
export function listIn(directory: string): Listed[] {
  const revoked = new Set(readRevoked(revokedFile(directory)).map(({ serial }) => serial));
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    throw new ShadowferryError('FILE_UNSAFE', { file: directory, why: reasonOf(error) });
  }
  return names
    .filter((name) => name.endsWith('.crt'))
    .toSorted()
    .map((name) => {
      const facts = factsOf(readNeeded(join(directory, name)), join(directory, name));
      return { file: name, facts, revoked: revoked.has(facts.serial) };
    });
}

/**
 * Revokes a certificate, named by its serial number, or by the name whose certificate lies in the directory.
 * Revoking twice changes nothing.
 * @throws PKI_INVALID, FILE_UNSAFE
 */
export function revokeIn(directory: string, which: string, reason: string): { serial: string; name: string } {
  const file = revokedFile(directory);
  const before = readRevoked(file);
  const known = listIn(directory).filter(({ facts }) => !facts.ca);
  const found =
    known.find(({ file: name }) => name === `${which}.crt`) ??
    known.find(({ facts }) => facts.serial === canonicalSerial(which));
  const bare = /^([0-9a-f]{2}:?){8,20}$/i.test(which) ? canonicalSerial(which) : undefined;
  const serial = found?.facts.serial ?? bare;
  if (serial === undefined) {
    const names = known.map(({ file: name }) => name.replace(/\.crt$/, '')).join(', ') || '(there is none)';
    const problem = `"${which}" is neither a serial number nor one of: ${names}`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'certificate', problem });
  }
  const name = found?.facts.commonName ?? '';
  if (!before.some((entry) => entry.serial === serial)) {
    const entry = { serial, name, atMs: Date.now(), reason };
    writeWhole(file, revokedText([...before, entry]), 0o644, 'replace');
  }
  return { serial, name };
}
