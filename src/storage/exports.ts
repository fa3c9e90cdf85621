/** The destination's QEMU takes the content of disks by NBD while it waits for the VM. */
import { randomInt } from 'node:crypto';
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';
import { diskIds } from '../hypervisor/qemu/spec.ts';
import type { Qmp } from '../hypervisor/qmp/client.ts';
import { queryStatus } from '../hypervisor/qmp/commands.ts';
import type { DiskExport, DiskTarget } from './model.ts';
import { beginVersion, forgetVersions } from './versions.ts';

/** Certificates with which disks are encrypted on their way, as QEMU wants them. */
export interface DiskTls {
  /** With `ca-cert.pem`, `server-cert.pem`, `server-key.pem`, `client-cert.pem`, `client-key.pem`. */
  directory: string;
  /** Name of this host in its certificate. */
  name: string;
}

const Exports = z.array(z.object({ id: z.string(), 'node-name': z.string() }));
const PREFIX = 'coming-';
export const TLS_OBJECT = 'disk-tls';
const WHO_OBJECT = 'disk-tls-source';

/** Above what services have, below what Linux takes for outgoing connections. */
const PORTS = { first: 20_000, end: 32_768 };
/** QEMU does not say which port it got when it may choose, so we choose, and try another when it is taken. */
const TRIES = 32;

/** Arguments of `object-add`. */
export function tlsObject({ directory: dir }: DiskTls, endpoint: 'server' | 'client') {
  const fixed = { 'qom-type': 'tls-creds-x509', id: TLS_OBJECT, 'verify-peer': true };
  // QEMU before 10 wants keys of elliptic curves to be for RSA's key exchange; who is verified stays verified
  return { ...fixed, dir, endpoint, 'sanity-check': false };
}

const refused = (error: unknown, text: string) =>
  error instanceof ShadowferryError &&
  error.code === 'QMP_REFUSED' &&
  String(error.params.description).includes(text);

async function listen(
  qmp: Qmp,
  { address, tls, source }: Pick<ExportOptions, 'address' | 'tls' | 'source'>,
  signal: AbortSignal,
): Promise<number> {
  const creds = tls === undefined ? {} : { 'tls-creds': TLS_OBJECT, 'tls-authz': WHO_OBJECT };
  if (tls !== undefined) {
    await qmp.execute('object-add', tlsObject(tls, 'server'), { signal });
    // others have certificates of the same CA
    const who = { 'qom-type': 'authz-simple', id: WHO_OBJECT, identity: `CN=${source}` };
    await qmp.execute('object-add', who, { signal });
  }
  const host = address.replace(/^\[(.*)\]$/, '$1');
  for (let tries = 1; ; tries += 1) {
    const port = randomInt(PORTS.first, PORTS.end);
    const addr = { type: 'inet', data: { host, port: String(port) } };
    try {
      await qmp.execute('nbd-server-start', { addr, ...creds }, { signal });
      return port;
    } catch (error) {
      if (tries >= TRIES || !refused(error, 'Address already in use')) throw error;
    }
  }
}

export interface ExportOptions {
  /** Of this host, where QEMU listens. */
  address: string;
  migration: string;
  /** Name of the host that sends; with certificates, nobody else may. */
  source: string;
  tls: DiskTls | undefined;
}

/**
 * Lets a QEMU that waits for a VM take its disks' content.
 * @throws QMP_REFUSED, QMP_CLOSED, the signal's reason
 */
export async function openExports(
  qmp: Qmp,
  targets: readonly DiskTarget[],
  options: ExportOptions,
  signal: AbortSignal,
): Promise<DiskExport[]> {
  if (targets.length === 0) return [];
  const { address, migration, tls } = options;
  const port = await listen(qmp, options, signal);
  const certificate = tls === undefined ? {} : { certificate: tls.name };
  const opened: DiskExport[] = [];
  for (const { id } of targets) {
    const name = `${migration}/${id}`;
    const node = { 'node-name': diskIds({ id }).node, writable: true };
    await qmp.execute('block-export-add', { type: 'nbd', id: PREFIX + id, name, ...node }, { signal });
    opened.push({ id, host: address, port, name, ...certificate });
  }
  await forgetVersions(qmp, targets, signal); // only now: an image that waits is not read before
  return opened;
}

/**
 * Nobody writes to the disks from outside any more: must be so before the VM runs, as QEMU gives a disk to one only.
 * Repeating it does no harm. @throws QMP_REFUSED, QMP_CLOSED, the signal's reason
 */
export async function closeExports(qmp: Qmp, signal: AbortSignal): Promise<void> {
  for (;;) {
    const all = await qmp.execute('query-block-exports', undefined, { schema: Exports, signal });
    const open = all.filter(({ id }) => id.startsWith(PREFIX));
    if (open.length === 0) break;
    for (const { id } of open) {
      try {
        await qmp.execute('block-export-del', { id, mode: 'hard' }, { signal });
      } catch (error) {
        // it is on its way out
        if (!refused(error, 'already shutting down') && !refused(error, 'is not found')) throw error;
      }
    }
  }
  try {
    await qmp.execute('nbd-server-stop', undefined, { signal });
  } catch (error) {
    if (!refused(error, 'NBD server not running')) throw error;
  }
}

/**
 * The disks are this side's from here on: nobody else writes to them, and what is written is kept account of. Before the
 * VM runs; repeating it does no harm. @throws QMP_REFUSED, QMP_CLOSED, the signal's reason
 */
export async function takeDisks(
  qmp: Qmp,
  targets: readonly DiskTarget[],
  migration: string,
  signal: AbortSignal,
): Promise<void> {
  if (targets.length === 0) return;
  // who calls again after the VM has run must not begin to count then
  if ((await queryStatus(qmp, { signal })).running) return;
  await closeExports(qmp, signal);
  await beginVersion(qmp, targets, migration, signal);
}
