/** A host as it stands before a port: `192.0.2.1`, `alpha.example`, `[2001:db8::1]`. */
import { isIPv6 } from 'node:net';

export const urlHost = (host: string): string => (isIPv6(host) ? `[${host}]` : host);
