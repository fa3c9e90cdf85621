/** Two real daemons in the lab: each answers over TLS, has etcd over a link of its own, and is found again after a kill. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findProgram } from '../../src/base/find-program.ts';
import { LabDaemons } from '../../src/lab/daemons.ts';
import { emptyDisk, fillDisk } from '../../src/lab/faults/disk.ts';
import { listLeftovers } from '../../src/lab/network/network.ts';

const skip = findProgram('etcd') === undefined && 'there is no etcd on this machine';

describe('two daemons', { skip }, () => {
  let lab: LabDaemons;
  before(async () => {
    lab = await LabDaemons.create({ devices: { a: ['e1000e'], b: ['vmxnet3'] }, members: 3, stateMiB: 64 });
  });
  after(async () => {
    await lab?.dispose();
    assert.deepEqual(listLeftovers(lab.id), { namespaces: [], processes: [] });
  });

  test('each answers on its socket, and to the other host over TLS', async () => {
    assert.equal(await lab.illness('a'), undefined);
    assert.equal(await lab.illness('b'), undefined);
    const { code, stdout } = await lab.healthOverTls('a', 'b');
    assert.equal(code, 0, stdout);
  });

  test('a cut link between the hosts parts them, and a mended one does not', async () => {
    await lab.network.cutMigrationLink();
    assert.notEqual((await lab.healthOverTls('a', 'b')).code, 0);
    await lab.network.restoreMigrationLink();
    assert.equal((await lab.healthOverTls('b', 'a')).code, 0);
  });

  test('a killed daemon is seen, and starts again on what it left', async () => {
    lab.daemons.a.kill();
    await lab.daemons.a.gone();
    assert.match((await lab.illness('a')) ?? '', /no daemon answers/);
    await lab.daemons.a.start();
    assert.equal(await lab.illness('a'), undefined);
  });

  test('the store goes on without its leader', async () => {
    const killed = await lab.etcd.killLeader();
    await lab.etcd.entries('/shadowferry/');
    await lab.etcd.restart(killed);
    await lab.etcd.entries('/shadowferry/');
  });

  test('the disk of a host can be full, and is not afterwards', () => {
    const { state } = lab.places.b;
    fillDisk(state);
    assert.throws(() => writeFileSync(join(state, 'more'), 'x'), { code: 'ENOSPC' });
    emptyDisk(state);
    writeFileSync(join(state, 'more'), 'x');
  });
});
