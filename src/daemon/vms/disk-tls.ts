/** The certificates of this host's daemon as its QEMUs want them, for disks on their way to or from other hosts. */
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { readNeeded } from '../../base/safe-file.ts';
import type { Host } from '../../host/host.ts';
import type { DaemonConfig } from '../config/model.ts';
import { factsOf } from '../pki/certificate.ts';

/**
 * Makes a directory of links, so that renewed certificates are the ones that the next QEMU reads.
 * @returns undefined for a daemon that does not listen: it has no peers either
 * @throws FILE_UNSAFE, PKI_INVALID
 */
export function diskTls(directory: string, listen: DaemonConfig['listen']): Host['diskTls'] {
  if (listen === undefined) return undefined;
  const { certificate, key, clientCa } = listen;
  const { names, commonName } = factsOf(readNeeded(certificate), certificate);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const links = {
    ...{ 'ca-cert.pem': clientCa, 'server-cert.pem': certificate, 'server-key.pem': key },
    ...{ 'client-cert.pem': certificate, 'client-key.pem': key },
  };
  for (const [name, file] of Object.entries(links)) {
    rmSync(join(directory, name), { force: true });
    symlinkSync(file, join(directory, name));
  }
  return { directory, name: names[0] ?? commonName };
}
