/** All calls of the API. What is here has a backend; what has none yet is not here. */
import { z } from 'zod';
import { CopyTrace } from '../../memory/strategy/trace.ts';
import { Name } from '../config/model.ts';
import { MIGRATION_CALLS } from './contract-migrations.ts';
import { ById, get, Nothing, Paged, Paging } from './contract-parts.ts';
import { VM_API } from './contract-vms.ts';
import type { Endpoint } from './endpoint.ts';
import {
  Device,
  Examination,
  Explanation,
  Health,
  Host,
  Migration,
  MigrationDetail,
  Note,
  PathId,
  pageOf,
  ShadowDetail,
  ShadowDiff,
  ShadowVersion,
  Step,
  Version,
} from './model.ts';

const OfNic = { vm: PathId, nic: PathId };
const VersionNumber = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

export const API = {
  health: get(
    '/v1/health',
    { tag: 'daemon', summary: 'Whether the daemon takes work', needs: 'anyone' },
    { params: Nothing, query: Nothing, answer: Health },
  ),
  version: get(
    '/v1/version',
    { tag: 'daemon', summary: 'Which daemon this is' },
    { params: Nothing, query: Nothing, answer: Version },
  ),
  listHosts: get(
    '/v1/hosts',
    { tag: 'hosts', summary: 'This host and those that it knows' },
    { params: Nothing, query: Paged, answer: pageOf(Host) },
  ),
  getHost: get(
    '/v1/hosts/{host}',
    { tag: 'hosts', summary: 'One host' },
    { params: z.strictObject({ host: Name }), query: Nothing, answer: Host },
  ),
  examineHost: {
    method: 'POST',
    path: '/v1/hosts/{host}/examinations',
    tag: 'hosts',
    summary: 'Look at this host again: programs, QEMU, accelerator, devices',
    needs: 'operator',
    params: z.strictObject({ host: Name }),
    query: Nothing,
    body: z.strictObject({
      fresh: z
        .boolean()
        .default(false)
        .describe('Try the accelerator again instead of using the kept answer.'),
    }),
    answer: Examination,
    status: 201,
    idempotent: true,
  },
  listDevices: get(
    '/v1/devices',
    { tag: 'devices', summary: 'Devices that this host can give to guests' },
    {
      params: Nothing,
      query: z.strictObject({
        ...Paging,
        network: Name.optional().describe('Only those on this network.'),
        free: z
          .enum(['true', 'false'])
          .optional()
          .describe('Only those that no VM holds, or only the others.'),
      }),
      answer: pageOf(Device),
    },
  ),
  getDevice: get(
    '/v1/devices/{device}',
    { tag: 'devices', summary: 'One device' },
    { params: z.strictObject({ device: Name }), query: Nothing, answer: Device },
  ),
  ...VM_API,
  listMigrations: get(
    '/v1/migrations',
    { tag: 'migrations', summary: 'Migrations, swaps and rescues, the newest first' },
    {
      params: Nothing,
      query: z.strictObject({
        ...Paging,
        vm: PathId.optional().describe('Only those of this VM.'),
        state: z
          .enum(['queued', 'open', 'ended'])
          .optional()
          .describe('Only those that wait, are under way, or are over.'),
      }),
      answer: pageOf(Migration),
    },
  ),
  getMigration: get(
    '/v1/migrations/{id}',
    { tag: 'migrations', summary: 'One migration, with its request and its result' },
    { params: ById, query: Nothing, answer: MigrationDetail },
  ),
  ...MIGRATION_CALLS,
  listSteps: get(
    '/v1/migrations/{id}/steps',
    { tag: 'migrations', summary: 'What it did, with what would take each step back' },
    { params: ById, query: Paged, answer: pageOf(Step) },
  ),
  listNotes: get(
    '/v1/migrations/{id}/notes',
    { tag: 'migrations', summary: 'What it decided and why' },
    { params: ById, query: Paged, answer: pageOf(Note) },
  ),
  explainMigration: get(
    '/v1/migrations/{id}/explanation',
    { tag: 'migrations', summary: 'What happened and why, for people' },
    { params: ById, query: Nothing, answer: Explanation },
  ),
  traceMigration: get(
    '/v1/migrations/{id}/trace',
    {
      tag: 'migrations',
      summary: 'What the copy of its memory looked like to the strategy; `null` when there was none',
    },
    { params: ById, query: Nothing, answer: z.object({ trace: CopyTrace.nullable() }) },
  ),
  listShadows: get(
    '/v1/shadows',
    { tag: 'shadows', summary: 'The newest version of each shadow' },
    {
      params: Nothing,
      query: z.strictObject({ ...Paging, vm: PathId.optional().describe('Only those of this VM.') }),
      answer: pageOf(ShadowVersion),
    },
  ),
  listShadowVersions: get(
    '/v1/shadows/{vm}/{nic}/versions',
    { tag: 'shadows', summary: 'The versions of the shadow of one NIC, the newest first' },
    { params: z.strictObject(OfNic), query: Paged, answer: pageOf(ShadowVersion) },
  ),
  getShadow: get(
    '/v1/shadows/{vm}/{nic}/versions/{version}',
    { tag: 'shadows', summary: 'One version, with what changed and the whole shadow' },
    {
      params: z.strictObject({
        ...OfNic,
        version: z.union([z.literal('last'), VersionNumber]).describe('Its number, or `last`.'),
      }),
      query: Nothing,
      answer: ShadowDetail,
    },
  ),
  diffShadows: get(
    '/v1/shadows/{vm}/{nic}/diff',
    { tag: 'shadows', summary: 'What differs between two versions' },
    {
      params: z.strictObject(OfNic),
      query: z.strictObject({
        from: VersionNumber.describe('Number of a version.'),
        to: VersionNumber.describe('Number of a version.'),
      }),
      answer: ShadowDiff,
    },
  ),
} as const satisfies Record<string, Endpoint>;

export type Operation = keyof typeof API;
export type EndpointOf<K extends Operation> = (typeof API)[K];
