/** Makes and reads certificates: ECDSA on P-256, a CA of one level. */
import './reflect.ts';
import { createHash, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { type Holder, holderOf, uriOf } from './names.ts';

x509.cryptoProvider.set(webcrypto);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
/** A clock of another host may be behind ours. */
const BACKDATED_MS = 3_600_000;

/** A certificate with its key, both PEM. */
export interface Issued {
  certificate: string;
  key: string;
}

/** What a certificate says. */
export interface CertificateFacts {
  /** In lower-case hexadecimal, without leading zeros. */
  serial: string;
  commonName: string;
  ca: boolean;
  holder: Holder | undefined;
  /** Names and addresses that a host is reached under. */
  names: string[];
  /** Ms since the epoch. */
  notBeforeMs: number;
  notAfterMs: number;
  issuer: string;
  /** SHA-256 of the whole, hexadecimal. */
  fingerprint: string;
}

/** The same spelling of a serial number wherever it comes from. */
export function canonicalSerial(serial: string): string {
  return serial
    .toLowerCase()
    .replaceAll(':', '')
    .replace(/^0+(?=.)/, '');
}

/** A positive number of 127 bits whose first byte is not nought, as RFC 5280 wants it. */
function newSerial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

const PERIOD = (days: number, nowMs: number) => ({
  notBefore: new Date(nowMs - BACKDATED_MS),
  notAfter: new Date(nowMs + days * DAY_MS),
});

async function pemOf(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const bytes = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return `${x509.PemConverter.encode(bytes, 'PRIVATE KEY')}\n`;
}

/** Makes a CA. @param name for people */
export async function makeCa(name: string, days: number, nowMs = Date.now()): Promise<Issued> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ CN: [name] }],
    ...PERIOD(days, nowMs),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: await pemOf(keys) };
}

async function importKey(ca: Issued, file: string): Promise<webcrypto.CryptoKey> {
  try {
    const [bytes] = x509.PemConverter.decode(ca.key);
    if (bytes === undefined) throw new Error('it holds no key');
    return await webcrypto.subtle.importKey('pkcs8', bytes, ALGORITHM, false, ['sign']);
  } catch (error) {
    throw new ShadowferryError('PKI_INVALID', { file, what: 'key of a CA', why: reasonOf(error) });
  }
}

/**
 * Issues a certificate. It ends before its CA does.
 * @param names names and addresses that a host is reached under
 * @param file names the CA in errors
 * @throws PKI_INVALID
 */
export async function issue(
  ca: Issued,
  file: string,
  holder: Holder,
  names: readonly string[],
  days: number,
  nowMs = Date.now(),
): Promise<Issued> {
  const authority = parsePem(ca.certificate, file);
  const signingKey = await importKey(ca, file);
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const period = PERIOD(days, nowMs);
  const { clientAuth, serverAuth } = x509.ExtendedKeyUsage;
  const alternatives: x509.JsonGeneralNames = [
    { type: 'url', value: uriOf(holder) },
    ...names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: [{ CN: [holder.name] }],
    issuer: authority.subjectName,
    notBefore: period.notBefore,
    notAfter: period.notAfter < authority.notAfter ? period.notAfter : authority.notAfter,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(holder.kind === 'host' ? [serverAuth, clientAuth] : [clientAuth]),
      new x509.SubjectAlternativeNameExtension(alternatives),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: await pemOf(keys) };
}

function parsePem(pem: string | Uint8Array, file: string): x509.X509Certificate {
  try {
    return new x509.X509Certificate(typeof pem === 'string' ? pem : Buffer.from(pem));
  } catch (error) {
    throw new ShadowferryError('PKI_INVALID', { file, what: 'certificate', why: reasonOf(error) });
  }
}

/** Reads a certificate (PEM or DER); does not say whether it is to be trusted. @throws PKI_INVALID */
export function factsOf(certificate: string | Uint8Array, file: string): CertificateFacts {
  const parsed = parsePem(certificate, file);
  const commonName = parsed.subjectName.getField('CN')[0] ?? '';
  const alternatives = parsed.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  const uris = alternatives.filter(({ type }) => type === 'url').map(({ value }) => value);
  return {
    serial: canonicalSerial(parsed.serialNumber),
    commonName,
    ca: parsed.getExtension(x509.BasicConstraintsExtension)?.ca ?? false,
    holder: holderOf(commonName, uris),
    names: alternatives.filter(({ type }) => type === 'dns' || type === 'ip').map(({ value }) => value),
    notBeforeMs: parsed.notBefore.getTime(),
    notAfterMs: parsed.notAfter.getTime(),
    issuer: parsed.issuerName.getField('CN')[0] ?? '',
    fingerprint: createHash('sha256').update(new Uint8Array(parsed.rawData)).digest('hex'),
  };
}
