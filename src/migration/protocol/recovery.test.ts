import assert from 'node:assert/strict';
import { test } from 'node:test';
import { transition } from '../machine.ts';
import { DESTINATION_RULES, recoverDestination } from './destination-recovery.ts';
import { allDestinationFacts, allSourceFacts } from './facts.test-data.ts';
import { incomingTransition } from './incoming.ts';
import { firstRule } from './rules.ts';
import { recoverSource, SOURCE_RULES } from './source-recovery.ts';

test('each combination of facts has a decision, and each rule decides for some of them', () => {
  const taken = new Set<unknown>();
  let count = 0;
  for (const facts of allSourceFacts()) {
    taken.add(firstRule(SOURCE_RULES, facts));
    count += 1;
  }
  for (const facts of allDestinationFacts()) {
    taken.add(firstRule(DESTINATION_RULES, facts));
    count += 1;
  }
  assert.ok(count > 400_000, `${count} combinations`);
  for (const rule of [...SOURCE_RULES, ...DESTINATION_RULES])
    assert.ok(taken.has(rule), `never: ${rule.when}`);
});

test('the source starts its VM only while it goes back, and never against a record that it read', () => {
  for (const facts of allSourceFacts()) {
    const { action } = recoverSource(facts);
    if (action !== 'continue-vm' && action !== 're-attach') continue;
    assert.equal(facts.state.kind, 'rolling-back');
    assert.ok(facts.record !== 'committed' && facts.record !== 'elsewhere', JSON.stringify(facts));
  }
});

test('the source ends its QEMU only after the commit, when the VM has all of it elsewhere or is lost', () => {
  for (const facts of allSourceFacts()) {
    if (recoverSource(facts).action !== 'discard-vm') continue;
    assert.ok(facts.state.kind === 'running' && facts.state.committed);
    assert.ok(facts.qemu === 'sent' || facts.peer.kind === 'settled' || facts.peer.kind === 'lost');
    assert.ok(facts.record === 'committed' || facts.record === 'unreachable');
  }
});

test('the destination starts the VM only after its journal saw the record name it', () => {
  for (const facts of allDestinationFacts()) {
    if (recoverDestination(facts).action !== 'continue-vm') continue;
    assert.equal(facts.state.kind, 'starting');
    assert.ok(facts.record === 'committed' || facts.record === 'unreachable');
  }
});

test('the destination ends no QEMU that may hold the only copy', () => {
  for (const facts of allDestinationFacts()) {
    if (recoverDestination(facts).action !== 'discard-vm') continue;
    assert.ok(facts.state.kind === 'discarding' || facts.state.kind === 'returning', JSON.stringify(facts));
  }
});

test('without the store, a VM that runs by right runs on, and nothing is handed over', () => {
  const swaps = ['hand-over', 'refuse-hand-over', 'hand-back', 'release'];
  for (const facts of allSourceFacts()) {
    if (facts.record !== 'unreachable') continue;
    const { action } = recoverSource(facts);
    assert.ok(!swaps.includes(action));
    const committed = facts.state.kind === 'running' && facts.state.committed;
    if (action === 'pause-vm') assert.ok(committed);
  }
  for (const facts of allDestinationFacts()) {
    if (facts.record !== 'unreachable') continue;
    const { action } = recoverDestination(facts);
    assert.ok(!swaps.includes(action) && action !== 'pause-vm');
  }
});

test('a noted event changes the state: no daemon goes round in a circle', () => {
  for (const facts of allSourceFacts()) {
    const decision = recoverSource(facts);
    if (decision.action !== 'note') continue;
    assert.notDeepEqual(transition(facts.state, decision.event).state, facts.state, JSON.stringify(facts));
  }
  for (const facts of allDestinationFacts()) {
    const decision = recoverDestination(facts);
    if (decision.action !== 'note') continue;
    assert.notDeepEqual(incomingTransition(facts.state, decision.event), facts.state, JSON.stringify(facts));
  }
});

test('the operator is asked only about what no daemon can know or mend', () => {
  for (const facts of allSourceFacts())
    if (recoverSource(facts).action === 'ask-operator')
      assert.ok(facts.record === 'elsewhere' || facts.record === 'undecided');
  for (const facts of allDestinationFacts()) {
    if (recoverDestination(facts).action !== 'ask-operator') continue;
    const foreign = facts.record !== 'committed' && facts.record !== 'unreachable';
    assert.ok(foreign || facts.peer === 'source-gone', JSON.stringify(facts));
  }
});
