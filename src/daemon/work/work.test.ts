import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ShadowferryError } from '../../errors.ts';
import { IncomingJournal } from '../../migration/incoming/journal.ts';
import { parseRequest } from '../../migration/request.ts';
import { ASKER, makeWork, type Rig, takenBack, untilEnded } from './fixture.test-data.ts';
import { whyAgain } from './perform.ts';

const LIMIT = { timeout: 60_000 };
const HOW = { hold: false, whenItComes: false };
const to = (vm: string, destination = 'beta') => parseRequest({ vm, destination });

async function boot({ vms, ownership }: Rig, ...names: string[]): Promise<void> {
  for (const name of names) {
    await ownership.register(name, 'alpha');
    vms.states.set(name, 'running');
  }
}

const types = ({ events }: Rig, id: string) =>
  events.filter(({ data }) => data.id === id).map(({ type }) => type);

test('a migration waits, runs, and is in the journal under the id that was given', LIMIT, async (t) => {
  const rig = await makeWork(t);
  await boot(rig, 'web1', 'web2', 'web3');
  const ids: string[] = [];
  for (const vm of ['web1', 'web2', 'web3']) ids.push(await rig.work.migrate(to(vm), HOW, ASKER));
  const [first = '', , third = ''] = ids;
  assert.deepEqual(rig.service.get(first).queue?.position, 1);
  rig.work.start();
  assert.equal(rig.service.get(third).state, 'queued');
  assert.match(rig.service.get(third).queue?.reason ?? '', /2 of 2/);
  assert.match(rig.service.explain(third).summary, /waits, number 1/);
  assert.equal(rig.service.get(first).state, 'open', 'also before the journal has it');
  for (const id of ids) assert.equal((await untilEnded(rig, id)).ending, 'completed');
  assert.equal(rig.vms.states.get('web1'), 'gone');
  assert.equal((await rig.ownership.read('web3'))?.owner, 'beta');
  assert.match(
    await rig.registry.metrics(),
    /shadowferry_migrations_total\{kind="migration",ending="completed"\} 3/,
  );
});

test('lists have what waits, what runs and what has ended, each once, piece by piece', LIMIT, async (t) => {
  const rig = await makeWork(t);
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  await boot(rig, ...names);
  const gate = Promise.withResolvers<void>();
  for (const vm of ['c', 'd', 'e', 'f']) rig.script(vm, { gate: gate.promise });
  rig.work.start();
  const ids: string[] = [];
  for (const vm of names) {
    ids.push(await rig.work.migrate(to(vm), HOW, ASKER));
    if (vm === 'b') for (const id of ids) await untilEnded(rig, id);
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  const pieces: string[] = [];
  let cursor: string | undefined;
  do {
    const page = rig.service.list({ limit: 2, cursor });
    pieces.push(...page.items.map(({ id, state }) => `${names[ids.indexOf(id)]} ${state}`));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  assert.deepEqual(pieces.toSorted(), ['a ended', 'b ended', 'c open', 'd open', 'e queued', 'f queued']);
  const queued = rig.service.list({ limit: 10, state: 'queued' }).items.map(({ vm }) => vm);
  assert.deepEqual(queued.toSorted(), ['e', 'f']);
  gate.resolve();
  for (const id of ids) await untilEnded(rig, id);
});

test('a destination that is busy is asked again, and only the last try is shown', LIMIT, async (t) => {
  const rig = await makeWork(t);
  await boot(rig, 'web1');
  rig.script('web1', { busy: 1 });
  rig.work.start();
  const id = await rig.work.migrate(to('web1'), HOW, ASKER);
  while (rig.service.get(id).state !== 'queued') await new Promise((resolve) => setTimeout(resolve, 2));
  rig.tail.look();
  const waits = rig.service.get(id).queue;
  assert.match(waits?.reason ?? '', /tried again in .*"beta" takes no further VM now: it is full/);
  assert.equal(waits?.tries, 1);
  assert.deepEqual(rig.service.list({ limit: 10 }).items.length, 1);
  assert.equal((await untilEnded(rig, id)).ending, 'completed');
  rig.tail.look();
  assert.deepEqual(
    rig.service.list({ limit: 10 }).items.map((each) => each.id),
    [id],
  );
  assert.equal(types(rig, id).filter((type) => type === 'migration.ended').length, 1);
  assert.deepEqual(
    rig.journal.migrations().map((each) => [each.id, each.ending]),
    [
      [id, 'rolled-back'],
      [`${id}.2`, 'completed'],
    ],
  );
});

test('a device that another migration took meanwhile is a reason to try again only where nobody asked for it', () => {
  const error = { code: 'DEVICE_CLAIMED_TWICE', message: 'twice', fix: '' } as const;
  const shadow = { captured: 0, restored: [], adapted: [], lost: [] };
  const from = { device: 'nic0', model: 'e1000e', driver: 'e1000e' };
  const nics = [{ nic: 'net0', mac: '', ok: false, from, to: { ...from, driver: null }, shadow }];
  const result = { ending: 'rolled-back', error, nics } as const;
  const work = (devices: Record<string, string>) =>
    ({
      kind: 'migration',
      request: parseRequest({ vm: 'a', destination: 'beta', devices }),
      hold: false,
      whenItComes: false,
    }) as const;
  assert.equal(whyAgain({ ...result, nics }, work({}), 0), 'twice');
  assert.equal(whyAgain({ ...result, nics }, work({ net0: 'nic0' }), 0), undefined);
  assert.equal(whyAgain({ ...result, nics }, work({}), 20), undefined, 'and not for ever');
  assert.equal(whyAgain({ ...result, nics, ending: 'stuck' }, work({}), 0), undefined);
});

test('what is wrong with a request is told at once where it is known', LIMIT, async (t) => {
  const rig = await makeWork(t);
  await boot(rig, 'web1');
  rig.vms.states.set('old', 'stopped');
  await assert.rejects(rig.work.migrate(to('none'), HOW, ASKER), { code: 'UNKNOWN_VM' });
  await assert.rejects(rig.work.migrate(to('old'), HOW, ASKER), { code: 'VM_STATE' });
  await assert.rejects(rig.work.migrate(to('web1', 'alpha'), HOW, ASKER), { code: 'SAME_HOST' });
  await assert.rejects(rig.work.migrate(to('web1', 'delta'), HOW, ASKER), { code: 'UNKNOWN_HOST' });
  const nobody = rig.work.migrate(to('none'), { ...HOW, whenItComes: true }, ASKER);
  await assert.rejects(nobody, { code: 'UNKNOWN_VM' }, 'no host owns it, so it never comes');
  assert.deepEqual(rig.service.list({ limit: 10 }).items, []);
});

test('what is found out later stands in the journal with its reason', LIMIT, async (t) => {
  const rig = await makeWork(t);
  await boot(rig, 'web1');
  rig.script('web1', {
    refuse: new ShadowferryError('INPUT_FIELD', { field: 'devices.net0', problem: 'is taken' }),
  });
  rig.work.start();
  const ended = await untilEnded(rig, await rig.work.migrate(to('web1'), HOW, ASKER));
  assert.deepEqual([ended.ending, ended.error?.code], ['rolled-back', 'INPUT_FIELD']);
  assert.match(rig.service.explain(ended.id).summary, /is taken/);
});

test('a VM that is on another host yet is waited for where that was asked', LIMIT, async (t) => {
  const rig = await makeWork(t);
  await rig.ownership.register('web1', 'beta');
  rig.work.start();
  const id = await rig.work.migrate(to('web1', 'gamma'), { ...HOW, whenItComes: true }, ASKER);
  assert.match(rig.service.get(id).queue?.reason ?? '', /has not come to alpha yet/);
  rig.vms.states.set('web1', 'running');
  assert.equal((await untilEnded(rig, id)).ending, 'completed');
});

test('a dry run is answered with its plan, and waits for nobody', LIMIT, async (t) => {
  const rig = await makeWork(t, { limits: { waiting: 1 } });
  await boot(rig, 'web1');
  const detail = rig.service.get(await rig.work.plan({ ...to('web1'), dryRun: true }, ASKER));
  assert.deepEqual([detail.state, detail.ending], ['ended', 'planned']);
  assert.equal(rig.vms.states.get('web1'), 'running');
});

test('one that is held says so, and goes on or back as it is told', LIMIT, async (t) => {
  const rig = await makeWork(t);
  await boot(rig, 'a', 'b');
  rig.work.start();
  const [a = '', b = ''] = await Promise.all(
    ['a', 'b'].map((vm) => rig.work.migrate(to(vm), { ...HOW, hold: true }, ASKER)),
  );
  for (const id of [a, b])
    while (!rig.service.get(id).held) await new Promise((resolve) => setTimeout(resolve, 2));
  rig.work.confirm(a);
  assert.equal((await untilEnded(rig, a)).ending, 'completed');
  rig.service.mayCancel(b);
  rig.work.cancel(b);
  const back = await untilEnded(rig, b);
  assert.deepEqual([back.ending, back.error?.code], ['rolled-back', 'CANCELLED']);
  assert.throws(() => rig.service.mayCancel(a), { code: 'CANCEL_LATE' });
  assert.throws(() => rig.work.cancel(b), { code: 'CANCEL_LATE' });
  assert.equal(rig.vms.states.get('b'), 'running');
});

test('a daemon that was killed takes up what was open, and only then the same VM again', LIMIT, async (t) => {
  const before = await makeWork(t);
  await boot(before, 'a', 'b');
  before.script('a', { gate: new Promise(() => {}) });
  before.work.start();
  const open = await before.work.migrate(to('a'), HOW, { ...ASKER, key: 'k1' });
  const next = await before.work.migrate(to('a', 'gamma'), HOW, ASKER);
  while (before.journal.find(open) === undefined) await new Promise((resolve) => setTimeout(resolve, 2));

  const gate = Promise.withResolvers<void>();
  const looked: string[] = [];
  const after = await makeWork(t, {
    directory: before.directory,
    recover: async ({ id, vm }, { journal, emit }) => {
      looked.push(id);
      emit({ type: 'decision', atMs: 1, action: 'back', reason: 'the record names this host' });
      await gate.promise;
      const result = takenBack(id, vm);
      journal.close(id, 'rolled-back', result);
      return { result };
    },
  });
  after.vms.states.set('a', 'running');
  assert.equal(after.work.byKey('cert:erika', 'k1')?.id, open);
  after.work.start();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.match(after.service.get(next).queue?.reason ?? '', /is being recovered|is busy/);
  assert.equal(after.service.get(open).state, 'open');
  assert.throws(() => after.work.cancel(open), /is being taken to its end/);
  gate.resolve();
  await after.work.recovered();
  assert.equal(after.service.get(open).ending, 'rolled-back');
  assert.equal((await untilEnded(after, next)).ending, 'completed');
  assert.deepEqual(looked, [open]);
  assert.ok(types(after, open).includes('migration.decision'));
  const metrics = await after.registry.metrics();
  assert.match(metrics, /shadowferry_migration_recoveries_total\{outcome="rolled-back"\} 1/);
});

test('one that breaks off with the journal open is recovered in the same process', LIMIT, async (t) => {
  const rig = await makeWork(t, {
    recover: async ({ id, vm }, { journal }) => {
      const result = takenBack(id, vm);
      journal.close(id, 'rolled-back', result);
      return { result };
    },
  });
  await boot(rig, 'web1');
  rig.script('web1', { breakOff: true });
  rig.work.start();
  const id = await rig.work.migrate(to('web1'), HOW, ASKER);
  assert.equal((await untilEnded(rig, id)).ending, 'rolled-back');
  await rig.work.recovered();
  assert.equal(rig.work.find(id)?.state, 'ended');
});

test('a recovery that fails is tried again, and told', LIMIT, async (t) => {
  let tries = 0;
  const rig = await makeWork(t, {
    recover: async ({ id, vm }, { journal }) => {
      tries += 1;
      if (tries === 1) throw new Error('no luck');
      const result = takenBack(id, vm);
      journal.close(id, 'rolled-back', result);
      return { result };
    },
  });
  await boot(rig, 'web1');
  rig.script('web1', { breakOff: true });
  rig.work.start();
  const id = await rig.work.migrate(to('web1'), HOW, ASKER);
  await untilEnded(rig, id);
  assert.equal(tries, 2);
  assert.ok(types(rig, id).includes('migration.recovery-failed'));
});

test('twenty at once over eight VMs all come through, and the limits hold', LIMIT, async (t) => {
  const rig = await makeWork(t, { limits: { outgoing: 3, link: 2 } });
  const names = Array.from({ length: 8 }, (_, n) => `vm${n}`);
  await boot(rig, ...names);
  let [now, most] = [0, 0];
  const hold = rig.vms.hold.bind(rig.vms);
  rig.vms.hold = async (name, why, act) => {
    now += 1;
    most = Math.max(most, now);
    try {
      // it comes back as soon as it has left, as another host's daemon would send it
      return await hold(name, why, act);
    } finally {
      now -= 1;
      const record = await rig.ownership.read(name);
      if (record !== undefined && record.owner !== 'alpha') await rig.ownership.handOver(record, 'alpha');
      rig.vms.states.set(name, 'running');
    }
  };
  const ids: string[] = [];
  for (let n = 0; n < 20; n++) {
    const principal = n % 3 === 0 ? 'ann' : 'bob';
    const request = to(`vm${n % 8}`, n % 2 === 0 ? 'beta' : 'gamma');
    ids.push(await rig.work.migrate(request, { ...HOW, whenItComes: true }, { principal, key: undefined }));
  }
  rig.work.start();
  for (const id of ids) assert.equal((await untilEnded(rig, id)).ending, 'completed');
  assert.equal(most, 3);
});

test('a VM that came without its device is not sent on, until it has it or was booted', LIMIT, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-arrivals-'));
  const arrivals = new IncomingJournal(join(directory, 'incoming.db'));
  t.after(() => {
    arrivals.dispose();
    rmSync(directory, { recursive: true });
  });
  const rig = await makeWork(t, { arrivals });
  await boot(rig, 'web1');
  const state = { kind: 'settled', degraded: true } as const;
  const handOver = { id: 'm1', vm: 'web1', source: 'beta', destination: 'alpha', epoch: 1 };
  arrivals.open(handOver, undefined, state, 'it came without its device');
  rig.work.start();
  const refused = await untilEnded(rig, await rig.work.migrate(to('web1'), HOW, ASKER));
  assert.deepEqual([refused.ending, refused.error?.code], ['rolled-back', 'DEGRADED']);
  rig.work.startedAnew('web1');
  const moved = await untilEnded(rig, await rig.work.migrate(to('web1'), HOW, ASKER));
  assert.equal(moved.ending, 'completed');
});
