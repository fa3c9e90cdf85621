/** How a certificate says whom it is for: URIs among its names. Pure. */
import { Role } from '../auth/roles.ts';

export type Holder = { kind: 'client'; name: string; role: Role } | { kind: 'host'; name: string };

/** `shadowferry://role/operator` or `shadowferry://host/alpha`. */
export function uriOf(holder: Holder): string {
  return holder.kind === 'host' ? `shadowferry://host/${holder.name}` : `shadowferry://role/${holder.role}`;
}

/**
 * Whom a certificate is for, from its common name and the URIs among its names; undefined when none of them is ours,
 * or several contradict each other: then it has no rights.
 */
export function holderOf(commonName: string, uris: readonly string[]): Holder | undefined {
  const holders = uris.flatMap((uri): Holder[] => {
    const match = /^shadowferry:\/\/(role|host)\/([a-z0-9-]{1,63})$/.exec(uri);
    if (match === null) return [];
    const [, kind, value = ''] = match;
    if (kind === 'host') return [{ kind: 'host', name: value }];
    const role = Role.safeParse(value);
    return role.success ? [{ kind: 'client', name: commonName, role: role.data }] : [];
  });
  const [only, ...more] = holders;
  return more.length === 0 ? only : undefined;
}
