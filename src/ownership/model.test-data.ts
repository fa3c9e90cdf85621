/** A simple model of ownership, and random calls to a store that are compared with it. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ShadowferryError } from '../errors.ts';
import type { OwnershipStore } from './store.ts';

interface Model {
  vms: Map<string, { owner: string | undefined; epoch: number; made: Map<number, string> }>;
  claims: Map<string, { vm: string; migration: string | undefined }>;
  attempts: number;
}

export const emptyModel = (): Model => ({ vms: new Map(), claims: new Map(), attempts: 0 });

type Command = fc.AsyncCommand<Model, OwnershipStore>;

const VMS = ['web1', 'web2'];
const HOSTS = ['a', 'b', 'c'];
const vms = fc.constantFrom(...VMS);
const hosts = fc.constantFrom(...HOSTS);
const migrations = fc.constantFrom(undefined, 'm1', 'm2');

/** The code that the call failed with, or what it gave. */
async function result<T>(call: Promise<T>): Promise<T | string> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof ShadowferryError) return error.code;
    throw error;
  }
}

function command(name: string, run: (model: Model, store: OwnershipStore) => Promise<void>): Command {
  return { check: () => true, run, toString: () => name };
}

const register = fc.tuple(vms, hosts).map(([vm, host]) =>
  command(`register(${vm}, ${host})`, async (model, store) => {
    const told = await result(store.register(vm, host));
    const now = model.vms.get(vm) ?? { owner: undefined, epoch: 0, made: new Map() };
    if (now.owner === undefined) {
      now.epoch += 1;
      now.owner = host;
      now.made.set(now.epoch, 'registration');
      model.vms.set(vm, now);
    }
    assert.deepEqual(told, now.owner === host ? { vm, owner: host, epoch: now.epoch } : 'NOT_OWNER');
  }),
);

/** `stale` epochs back; 0 is the present. */
const handOver = fc.tuple(vms, hosts, hosts, fc.constantFrom(0, 0, 0, 1, -1)).map(([vm, from, to, stale]) =>
  command(`handOver(${vm}, ${from} -> ${to}, ${stale} back)`, async (model, store) => {
    const now = model.vms.get(vm);
    const epoch = (now?.epoch ?? 1) - stale;
    if (epoch < 1) return;
    const attempt = `t${model.attempts++}`;
    const told = await result(store.handOver({ vm, owner: from, epoch }, to, { attempt }));
    if (now === undefined || now.owner !== from || stale !== 0) return assert.equal(told, 'NOT_OWNER');
    now.owner = to;
    now.epoch += 1;
    now.made.set(now.epoch, attempt);
    assert.deepEqual(told, { vm, owner: to, epoch: now.epoch });
  }),
);

/** Resolves the attempt that made an epoch some way back, or one that was never made. */
const resolve = fc.tuple(vms, fc.nat(3), fc.boolean()).map(([vm, back, real]) =>
  command(`resolve(${vm}, ${back} back, ${real ? 'made' : 'not made'})`, async (model, store) => {
    const now = model.vms.get(vm);
    if (now?.owner === undefined || now.epoch - back < 1) return;
    const epoch = now.epoch - back;
    const made = now.made.get(epoch + 1);
    const attempt = real && made !== undefined ? made : `t${model.attempts++}`;
    const committed = made === attempt && made !== 'registration' && !made.startsWith('withdrawal');
    const told = await store.resolveHandOver({
      attempt,
      expected: { vm, owner: now.owner, epoch },
      to: 'a',
    });
    if (made === undefined) {
      now.epoch += 1;
      now.made.set(now.epoch, 'withdrawal');
    }
    const record = { vm, owner: now.owner, epoch: now.epoch };
    assert.deepEqual([told.action, told.record], [committed ? 'committed' : 'withdrawn', record]);
  }),
);

const claim = fc.tuple(vms, hosts, migrations).map(([vm, host, migration]) =>
  command(`claim(${host}, ${vm}, ${migration})`, async (model, store) => {
    const request = { host, device: 'nic0', vm, ...(migration === undefined ? {} : { migration }) };
    const told = await result(store.claimDevice(request));
    const held = model.claims.get(host);
    const other = held?.migration !== undefined && migration !== undefined && held.migration !== migration;
    if (held !== undefined && (held.vm !== vm || other)) return assert.equal(told, 'DEVICE_CLAIMED_TWICE');
    assert.equal(told, undefined);
    if (held === undefined || migration === undefined) model.claims.set(host, { vm, migration });
  }),
);

const release = fc.tuple(vms, hosts, migrations).map(([vm, host, migration]) =>
  command(`release(${host}, ${vm}, ${migration})`, async (model, store) => {
    const request = { host, device: 'nic0', vm, ...(migration === undefined ? {} : { migration }) };
    await store.releaseDevice(request);
    const held = model.claims.get(host);
    if (held?.vm === vm && (migration === undefined || migration === held.migration))
      model.claims.delete(host);
  }),
);

const forget = vms.map((vm) =>
  command(`forget(${vm})`, async (model, store) => {
    await store.forget(vm);
    const now = model.vms.get(vm);
    if (now !== undefined) now.owner = undefined;
    for (const [host, held] of model.claims) if (held.vm === vm) model.claims.delete(host);
  }),
);

const look = fc.constant(
  command('look', async (model, store) => {
    const owned = [...model.vms].flatMap(([vm, { owner, epoch }]) =>
      owner === undefined ? [] : [{ vm, owner, epoch }],
    );
    assert.deepEqual(
      await store.list(),
      owned.toSorted((a, b) => (a.vm < b.vm ? -1 : 1)),
    );
    const claims = (await store.claims()).map(({ host, vm, migration }) => [host, vm, migration]);
    const expected = [...model.claims].map(([host, { vm, migration }]) => [host, vm, migration]);
    assert.deepEqual(claims, expected.toSorted());
  }),
);

/**
 * Random calls, each compared with the model.
 * @param open gives an empty store; it is closed by `close`
 */
export async function comparesWithModel(open: () => Promise<OwnershipStore>, numRuns: number): Promise<void> {
  const commands = [register, register, handOver, handOver, resolve, claim, release, forget, look];
  await fc.assert(
    fc.asyncProperty(fc.commands(commands, { maxCommands: 30 }), async (calls) => {
      const real = await open();
      try {
        await fc.asyncModelRun(() => ({ model: emptyModel(), real }), calls);
      } finally {
        real.close();
      }
    }),
    { numRuns },
  );
}
