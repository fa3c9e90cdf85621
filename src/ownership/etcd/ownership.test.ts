/** etcd as the ownership store does what every such store does; one real member. */
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { ownershipContract } from '../contract.test-data.ts';
import { comparesWithModel } from '../model.test-data.ts';
import { openOwnership } from '../open.ts';
import { Cluster, withoutEtcd } from './cluster.test-data.ts';
import { EtcdOwnership } from './ownership.ts';

const skip = withoutEtcd;
let cluster: Cluster;
before(async () => {
  if (skip === false) cluster = await Cluster.start(1);
});
after(() => cluster?.stop());

const newPrefix = () => `/test/${randomUUID()}`;

ownershipContract(
  'etcd',
  async (t, count) => {
    const prefix = newPrefix();
    const config = cluster.config({ prefix });
    const stores = Array.from({ length: count }, () => openOwnership({ kind: 'etcd', ...config }));
    t.after(() => {
      for (const store of stores) store.close();
    });
    return stores;
  },
  skip,
);

test('etcd: random calls agree with the model', { skip }, async () => {
  await comparesWithModel(async () => new EtcdOwnership(cluster.config({ prefix: newPrefix() })), 20);
});
