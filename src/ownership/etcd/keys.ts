/** Where things are in etcd, and how they look there. Names are encoded, so that a slash in one does no harm. */
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import { ClaimValue, VmRecord } from '../record.ts';
import type { DeviceClaim } from '../store.ts';

/** Of all values; one that is newer than we know is not read. */
const SCHEMA = 1;

const HostValue = z.object({ address: z.string(), version: z.string(), atMs: z.number() });
export type HostValue = z.infer<typeof HostValue>;

export interface Keys {
  vms: string;
  vm(name: string): string;
  claims(host?: string): string;
  claim(of: Pick<DeviceClaim, 'host' | 'device'>): string;
  hosts: string;
  host(name: string): string;
}

export function keysUnder(prefix: string): Keys {
  const name = encodeURIComponent;
  return {
    vms: `${prefix}/vm/`,
    vm: (vm) => `${prefix}/vm/${name(vm)}`,
    claims: (host) => `${prefix}/claim/${host === undefined ? '' : `${name(host)}/`}`,
    claim: ({ host, device }) => `${prefix}/claim/${name(host)}/${name(device)}`,
    hosts: `${prefix}/host/`,
    host: (host) => `${prefix}/host/${name(host)}`,
  };
}

/** The names that a key ends with, from the last to the one before it … @throws STORE_DAMAGED */
export function namesIn(key: string, count: 1 | 2): string[] {
  try {
    return key.split('/').slice(-count).map(decodeURIComponent);
  } catch (error) {
    throw new ShadowferryError('STORE_DAMAGED', { key, problem: 'its name is not ours' }, { cause: error });
  }
}

function parse<T extends object>(key: string, text: string, schema: z.ZodType<T>): T {
  const damaged = (problem: string) => new ShadowferryError('STORE_DAMAGED', { key, problem });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw damaged('it is not JSON');
  }
  const version = z.object({ schema: z.number() }).safeParse(json);
  if (version.success && version.data.schema > SCHEMA) {
    throw damaged(`it has schema ${version.data.schema}; this program knows schemas up to ${SCHEMA}`);
  }
  const parsed = schema.safeParse(json);
  if (!version.success || !parsed.success) {
    const { error } = version.success ? parsed : version;
    throw damaged(error === undefined ? 'it has no schema' : z.prettifyError(error).replaceAll('\n', ' '));
  }
  return parsed.data;
}

const format = (value: object): string => JSON.stringify({ schema: SCHEMA, ...value });

/** Values as texts. `parse` throws STORE_DAMAGED. */
export const vmValue = {
  parse: (key: string, text: string): VmRecord => parse(key, text, VmRecord),
  format: (value: VmRecord): string => format(value),
};
export const claimValue = {
  parse: (key: string, text: string): ClaimValue => parse(key, text, ClaimValue),
  format: (value: ClaimValue): string => format(value),
};
export const hostValue = {
  parse: (key: string, text: string): HostValue => parse(key, text, HostValue),
  format: (value: HostValue): string => format(value),
};
