import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import type { ExecuteOptions, Qmp } from './client.ts';
import * as commands from './commands.ts';
import { MigrationInfo } from './migration-info.ts';
import type { QmpArguments } from './wire.ts';

/** A client that notes what is sent and answers always the same. */
function recorder(answer: unknown = {}): Qmp & { sent: unknown[] } {
  const sent: unknown[] = [];
  function execute<T>(
    command: string,
    args: QmpArguments | undefined,
    options: ExecuteOptions & { schema: z.ZodType<T> },
  ): Promise<T>;
  function execute(command: string, args?: QmpArguments, options?: ExecuteOptions): Promise<unknown>;
  async function execute(
    command: string,
    args?: QmpArguments,
    options: ExecuteOptions & { schema?: z.ZodType } = {},
  ): Promise<unknown> {
    sent.push(args === undefined ? [command] : [command, args]);
    return (options.schema ?? z.unknown()).parse(answer);
  }
  return { sent, execute };
}

const CASES: [name: string, run: (qmp: Qmp) => Promise<unknown>, sent: unknown[]][] = [
  ['stop', (qmp) => commands.stop(qmp), ['stop']],
  ['cont', (qmp) => commands.cont(qmp), ['cont']],
  ['quit', (qmp) => commands.quit(qmp), ['quit']],
  ['migrate', (qmp) => commands.migrate(qmp, 'unix:/x'), ['migrate', { uri: 'unix:/x' }]],
  [
    'migrate, resumed',
    (qmp) => commands.migrate(qmp, 'unix:/x', { resume: true }),
    ['migrate', { uri: 'unix:/x', resume: true }],
  ],
  [
    'migrateIncoming',
    (qmp) => commands.migrateIncoming(qmp, 'tcp::1'),
    ['migrate-incoming', { uri: 'tcp::1' }],
  ],
  ['migrateCancel', (qmp) => commands.migrateCancel(qmp), ['migrate_cancel']],
  [
    'migrateContinue',
    (qmp) => commands.migrateContinue(qmp),
    ['migrate-continue', { state: 'pre-switchover' }],
  ],
  ['migrateStartPostcopy', (qmp) => commands.migrateStartPostcopy(qmp), ['migrate-start-postcopy']],
  [
    'migrateSetCapabilities',
    (qmp) => commands.migrateSetCapabilities(qmp, { events: true, xbzrle: false }),
    [
      'migrate-set-capabilities',
      {
        capabilities: [
          { capability: 'events', state: true },
          { capability: 'xbzrle', state: false },
        ],
      },
    ],
  ],
  [
    'migrateSetParameters',
    (qmp) => commands.migrateSetParameters(qmp, { 'downtime-limit': 50 }),
    ['migrate-set-parameters', { 'downtime-limit': 50 }],
  ],
  [
    'deviceAdd',
    (qmp) => commands.deviceAdd(qmp, { driver: 'e1000e', id: 'net0', bus: 'rp1' }),
    ['device_add', { driver: 'e1000e', id: 'net0', bus: 'rp1' }],
  ],
  ['deviceDel', (qmp) => commands.deviceDel(qmp, 'net0'), ['device_del', { id: 'net0' }]],
  [
    'netdevAdd',
    (qmp) => commands.netdevAdd(qmp, { type: 'tap', id: 't', ifname: 'tap0' }),
    ['netdev_add', { type: 'tap', id: 't', ifname: 'tap0' }],
  ],
  ['netdevDel', (qmp) => commands.netdevDel(qmp, 't'), ['netdev_del', { id: 't' }]],
  ['setLink', (qmp) => commands.setLink(qmp, 'net0', false), ['set_link', { name: 'net0', up: false }]],
  [
    'announceSelf',
    (qmp) => commands.announceSelf(qmp, { rounds: 2, interfaces: ['net0'] }),
    ['announce-self', { initial: 50, max: 550, rounds: 2, step: 100, interfaces: ['net0'] }],
  ],
];

describe('commands', () => {
  for (const [name, run, sent] of CASES) {
    it(`sends ${name} by QEMU's own names`, async () => {
      const qmp = recorder();
      await run(qmp);
      assert.deepEqual(qmp.sent, [sent]);
    });
  }

  it('reads capabilities as a map', async () => {
    const qmp = recorder([
      { capability: 'xbzrle', state: false },
      { capability: 'events', state: true },
    ]);
    const capabilities = await commands.queryMigrateCapabilities(qmp);
    assert.deepEqual(
      [...capabilities],
      [
        ['xbzrle', false],
        ['events', true],
      ],
    );
  });

  it('takes a closed connection as the answer to quit, and nothing else', async () => {
    const failing = (error: Error): Qmp => ({ execute: () => Promise.reject(error) });
    await commands.quit(failing(new ShadowferryError('QMP_CLOSED', { peer: 'x', why: 'gone' })));
    await assert.rejects(commands.quit(failing(new Error('other'))), /other/);
  });
});

describe('MigrationInfo', () => {
  it('reads the empty answer of a VM that never migrated', () => {
    assert.deepEqual(MigrationInfo.parse({}), { status: 'none' });
  });

  it('reads a status of a later QEMU as unknown', () => {
    assert.equal(MigrationInfo.parse({ status: 'teleporting' }).status, 'unknown');
  });

  it('keeps why a VM is blocked and why a migration failed', () => {
    const info = { status: 'failed', 'error-desc': 'no route', 'blocked-reasons': ['vfio'] };
    assert.deepEqual(MigrationInfo.parse(info), info);
  });
});
