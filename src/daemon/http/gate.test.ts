import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Gate } from './gate.ts';
import { urgencyOf } from './urgent.ts';

/** A gate whose time passes when the test says so. */
function setup(t: TestContext) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let nowMs = 0;
  const gate = new Gate(() => nowMs);
  t.after(() => gate.close());
  const log: string[] = [];
  const enter = (who: string, what = who) => {
    const entered = gate.enter(who);
    if (entered === undefined) log.push(what);
    else
      entered.then(
        () => log.push(what),
        (error: unknown) =>
          log.push(`${what}: ${error instanceof Error && 'code' in error ? error.code : ''}`),
      );
  };
  const pass = async (ms: number) => {
    nowMs += ms;
    t.mock.timers.tick(ms);
    await new Promise(setImmediate);
  };
  return { gate, log, enter, pass, turn: () => pass(0) };
}

test('few pass in one turn of the loop; those of who asks much do not keep others waiting', async (t) => {
  const { enter, log, turn } = setup(t);
  for (let n = 0; n < 5; n += 1) enter('busy');
  enter('other');
  assert.deepEqual(log, ['busy', 'busy']);
  await turn();
  assert.deepEqual(log.slice(2), ['busy', 'other']);
  await turn();
  assert.equal(log.length, 6);
});

test('while a VM is handed over requests pass slowly, in turn; those that wait long are told to come again', async (t) => {
  const { gate, enter, log, pass } = setup(t);
  gate.urgent('m1', true);
  for (let n = 0; n < 60; n += 1) enter('busy');
  enter('other');
  await pass(0);
  assert.equal(log.length, 0);
  await pass(50);
  await pass(50);
  assert.deepEqual(log, ['busy', 'other']);
  for (let n = 0; n < 38; n += 1) await pass(50);
  assert.ok(log.includes('busy: HAND_OVER_FIRST'));
  assert.equal(gate.waiting, 0);
  const passed = log.filter((each) => each === 'busy').length;
  assert.ok(passed >= 35 && passed <= 40, `${passed} passed in 2 s`);
});

test('when nothing is urgent any more, those that wait pass at once, a few in a turn', async (t) => {
  const { gate, enter, log, turn } = setup(t);
  enter('a');
  enter('b');
  enter('c'); // waits for the next turn, and then something is urgent
  gate.urgent('m1', true);
  gate.urgent('m2', true);
  await turn();
  enter('d');
  gate.urgent('m1', false);
  await turn();
  assert.deepEqual(log, ['a', 'b']);
  gate.urgent('m2', false);
  await turn();
  assert.deepEqual(log, ['a', 'b', 'c', 'd']);
});

test('who waited when something became urgent passes slowly too', async (t) => {
  const { gate, enter, log, pass } = setup(t);
  for (let n = 0; n < 4; n += 1) enter('a');
  gate.urgent('m1', true);
  await pass(0);
  await pass(50);
  assert.equal(log.length, 3);
});

test('what is urgent for ever is not: its time ends by itself', async (t) => {
  const { gate, enter, log, pass } = setup(t);
  gate.urgent('m1', true);
  await pass(9_990);
  for (let n = 0; n < 4; n += 1) enter('a');
  await pass(0);
  await pass(50);
  await pass(0);
  await pass(0);
  assert.deepEqual(log, ['a', 'a', 'a', 'a']);
});

test('a gate that is closed lets all that wait pass, and keeps nobody', async (t) => {
  const { gate, enter, log, turn } = setup(t);
  gate.urgent('m1', true);
  enter('a');
  await turn();
  gate.close();
  enter('b');
  await turn();
  assert.deepEqual(log.toSorted(), ['a', 'b']);
});

test('which events say that traffic waits', () => {
  const phase = (name: string) => urgencyOf('migration.phase', { id: 'm1', phase: name })?.urgent;
  assert.deepEqual(['reserve', 'stage', 'detach', 'copy', 'switchover', 'attach', 'settle'].map(phase), [
    false,
    false,
    true,
    false,
    true,
    true,
    false,
  ]);
  const state = (name: string) => urgencyOf('incoming.state', { id: 'm1', state: name })?.urgent;
  assert.deepEqual(
    ['reserved', 'receiving', 'ready', 'starting', 'active', 'attached', 'discarding'].map(state),
    [false, false, true, true, true, false, false],
  );
  assert.deepEqual(urgencyOf('migration.ended', { id: 'm1' }), { id: 'm1', urgent: false });
  assert.equal(urgencyOf('host.leftover', { id: 'm1' }), undefined);
});
