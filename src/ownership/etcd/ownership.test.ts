/** etcd as the ownership store does what every such store does; one real member. */
import { randomUUID } from 'node:crypto';
import { after, before, type TestContext, test } from 'node:test';
import { ownershipContract } from '../contract.test-data.ts';
import { comparesWithModel } from '../model.test-data.ts';
import { Cluster, withoutEtcd } from './cluster.test-data.ts';
import type { EtcdConfig } from './config.ts';
import { EtcdOwnership } from './ownership.ts';

const skip = withoutEtcd;
let cluster: Cluster;
before(async () => {
  if (skip === false) cluster = await Cluster.start(1);
});
after(() => cluster?.stop());

const newPrefix = () => `/test/${randomUUID()}`;

function open(t: TestContext, more: Partial<EtcdConfig> = {}): EtcdOwnership {
  const store = new EtcdOwnership(cluster.config({ prefix: newPrefix(), ...more }));
  t.after(() => store.close());
  return store;
}

ownershipContract(
  'etcd',
  async (t, count) => {
    const prefix = newPrefix();
    return Array.from({ length: count }, () => open(t, { prefix }));
  },
  skip,
);

test('etcd: random calls agree with the model', { skip }, async () => {
  await comparesWithModel(async () => new EtcdOwnership(cluster.config({ prefix: newPrefix() })), 20);
});
