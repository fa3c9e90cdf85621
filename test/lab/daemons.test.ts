/** Two real daemons in the lab: each answers over TLS, has etcd over a link of its own, and is found again after a kill. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LabDaemons } from '../../src/lab/daemons.ts';
import { listLeftovers } from '../../src/lab/network/network.ts';

describe('two daemons', () => {
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
});
