import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DESTINATION_RULES } from './destination-recovery.ts';
import { type Explored, traceText } from './explore.ts';
import { exploreProtocol } from './model/protocol-model.test-data.ts';
import { type Rules, realRules } from './model/rules.test-data.ts';
import { firstWorld, show, type World } from './model/world.test-data.ts';
import { firstRule } from './rules.ts';
import { SOURCE_RULES, type SourceDecision } from './source-recovery.ts';

/** Things that go wrong in one migration, each at any time: `npm run test:long` takes one more. */
const FAULTS = process.env.SHADOWFERRY_LONG ? 3 : 2;
const LONGEST_MS = 1_800_000;

function text({ violation }: Explored<World>): string {
  return violation === undefined ? 'no violation' : traceText(violation, show);
}

/** Rules that were taken in some world, by their text. */
const taken = new Set<string>();

function watched(strategy: Rules['strategy']): Rules {
  return {
    ...realRules(strategy),
    recoverSource: (facts) => {
      const rule = firstRule(SOURCE_RULES, facts);
      taken.add(`source: ${rule.when}`);
      return rule.decision;
    },
    recoverDestination: (facts) => {
      const rule = firstRule(DESTINATION_RULES, facts);
      taken.add(`destination: ${rule.when}`);
      return rule.decision;
    },
  };
}

/** What only somebody outside of the protocol can bring about: the model never comes there. */
const GUARDS: readonly string[] = [
  'source: our journal: ended',
  'source: VM runs here; record: committed or elsewhere (or store unreachable, and our journal: committed)',
  'source: record: elsewhere',
  'source: record: undecided; our journal: committed',
  'destination: our journal: settled, discarded or lost',
  'destination: VM runs here; the record was read and does not name us',
  'destination: our journal: starting, active or attached; the record was read and does not name us',
  'destination: our journal: returning; record: undecided',
  'destination: no vote given; record: refused, returned or elsewhere',
  'destination: no vote given; record: committed; QEMU is gone, or the coordinator was silent for too long',
];

for (const strategy of ['precopy', 'postcopy'] as const) {
  test(`${strategy}: one copy runs and nothing is left over, whatever goes wrong`, {
    timeout: LONGEST_MS,
  }, (t) => {
    const begun = performance.now();
    const explored = exploreProtocol(watched(strategy), FAULTS);
    const { states, transitions, depth, good } = explored;
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    t.diagnostic(
      `${strategy}, up to ${FAULTS} faults: ${states} states, ${transitions} transitions, depth ${depth}, ${good} ends, ${seconds} s`,
    );
    assert.equal(explored.violation, undefined, text(explored));
    assert.ok(states > 100_000, 'the model is smaller than it was');
  });

  test(`${strategy}: when nothing goes wrong, the VM ends on the destination`, () => {
    const explored = exploreProtocol(realRules(strategy), 0);
    assert.equal(explored.violation, undefined, text(explored));
    assert.equal(explored.good, 2); // a question to the store may have been asked twice
  });
}

test('every rule is taken in some world, but for the guards', () => {
  const all = [
    ...SOURCE_RULES.map(({ when }) => `source: ${when}`),
    ...DESTINATION_RULES.map(({ when }) => `destination: ${when}`),
  ];
  assert.deepEqual(
    all.filter((rule) => !taken.has(rule)),
    GUARDS,
  );
});

/** The real rules with one mistake; the checker must find it. */
function mistaken(
  strategy: Rules['strategy'],
  change: (rules: Rules) => Partial<Rules>,
  faults = 1,
): Explored<World> {
  const rules = realRules(strategy);
  return exploreProtocol({ ...rules, ...change(rules) }, faults);
}

function assertFound(explored: Explored<World>, broken: RegExp, story: RegExp): void {
  const said = text(explored);
  assert.match(said, broken);
  assert.match(said, story);
}

const swapped =
  (rules: Rules, from: SourceDecision['action'], to: SourceDecision): Rules['recoverSource'] =>
  (facts) => {
    const decision = rules.recoverSource(facts);
    return decision.action === from ? to : decision;
  };

test('a destination that runs the VM without a look at the record is found', () => {
  const explored = mistaken('precopy', (rules) => ({
    recoverDestination: (facts) =>
      facts.state.kind === 'ready' && facts.qemu === 'loaded'
        ? { action: 'note', event: 'owned', reason: 'mistake' }
        : rules.recoverDestination(facts),
  }));
  assertFound(explored, /broken: before the commit only the source may run/, /continue-vm/);
});

test('a source that goes back without refusing the hand-over first is found: its question arrives late', () => {
  const explored = mistaken('precopy', (rules) => ({
    recoverSource: swapped(rules, 'refuse-hand-over', { action: 'note', event: 'failed', reason: 'mistake' }),
  }));
  assertFound(explored, /broken: (never two running copies|before the commit)/, /"commit" arrives/);
});

test('taking the silence of the store for a no is found', () => {
  const explored = mistaken('precopy', () => ({ silenceIsNo: true }));
  assertFound(explored, /broken: /, /no answer of the store/);
});

test('a source that does not wait for the store when it cannot be reached is found', () => {
  const guess = (rules: Rules): Rules['recoverSource'] => {
    return (facts) => {
      const decision = rules.recoverSource(facts);
      const unsure = facts.state.kind === 'running' && !facts.state.committed && decision.action === 'wait';
      return unsure ? { action: 'note', event: 'failed', reason: 'mistake' } : decision;
    };
  };
  const explored = mistaken('precopy', (rules) => ({ recoverSource: guess(rules) }), 2);
  assertFound(explored, /broken: before the commit/, /cut off from the store/);
});

test('a destination that leaves after its vote without refusing is found', () => {
  const explored = mistaken('precopy', (rules) => ({
    recoverDestination: (facts) => {
      const decision = rules.recoverDestination(facts);
      return decision.action === 'refuse-hand-over'
        ? { action: 'note', event: 'cancelled', reason: 'mistake' }
        : decision;
    },
  }));
  assertFound(explored, /broken: no good end can be reached/, /notes "cancelled": mistake/);
});

test('two decisions of the destination that are swapped are found: giving back what may have run', () => {
  const explored = mistaken('precopy', (rules) => ({
    recoverDestination: (facts) => {
      const decision = rules.recoverDestination(facts);
      return decision.action === 'note' && decision.event === 'qemu-gone' && facts.state.kind === 'starting'
        ? { action: 'note', event: 'cannot-start', reason: 'mistake' }
        : decision;
    },
  }));
  assertFound(explored, /broken: the source never runs on after the VM ran on the destination/, /hand-back/);
});

test('a source that ends its copy before the VM runs on the destination is found', () => {
  const explored = mistaken('precopy', (rules) => ({
    recoverSource: (facts) =>
      facts.record === 'committed' && facts.qemu === 'sent'
        ? { action: 'discard-vm', reason: 'mistake' }
        : rules.recoverSource(facts),
  }));
  assertFound(explored, /broken: a copy that is needed is not ended/, /discard-vm: mistake/);
});

test('an engine that cannot be given back a VM is found: then nobody runs it', () => {
  const explored = mistaken('precopy', (rules) => ({
    transition: (state, event) =>
      event === 'handed-back' ? { state, reason: 'mistake' } : rules.transition(state, event),
  }));
  assertFound(explored, /broken: no good end can be reached/, /QEMU of the destination is killed/);
});

test('a destination that forgets what has ended is found: a late message makes it begin again', () => {
  const explored = mistaken('precopy', (rules) => ({
    receive: (state, message) => rules.receive(state?.kind === 'discarded' ? undefined : state, message),
  }));
  assertFound(explored, /broken: /, /hears "reserve"/);
});

test('the commit before post-copy’s last state has arrived is found: QEMU starts the VM on the source by itself', () => {
  const explored = mistaken('postcopy', () => ({ votes: false }));
  assertFound(explored, /broken: before the commit only the source may run/, /the stream breaks/);
});

test('the shortest way is shown in words', () => {
  const explored = exploreProtocol({ ...realRules('precopy'), silenceIsNo: true }, 1, firstWorld(1));
  assert.match(text(explored), /^broken: .*\nat first\n 1\. source: preflight\n.*\nthen: \{"source":/s);
});
