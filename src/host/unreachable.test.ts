import assert from 'node:assert/strict';
import { test } from 'node:test';
import { removalRules, unreachableRules } from './unreachable.ts';

const WEB1 = { vm: 'web1', nic: 'net0' };

test('open connections of both families are answered, new ones and resets are not', () => {
  const text = unreachableRules(WEB1, ['uplink'], ['10.0.0.5', 'fd00::5']);
  assert.match(
    text,
    /ip daddr 10\.0\.0\.5 tcp flags & \(syn \| rst\) == 0 reject with icmp type host-unreachable/,
  );
  assert.match(text, /ip6 daddr fd00::5 tcp flags & \(syn \| rst\) == 0 reject with icmpv6 type no-route/);
  assert.match(text, /hook ingress device "uplink"/);
});

test('nothing but names and addresses gets into the rules', () => {
  for (const bad of ['10.0.0.5 accept', '', 'fd00::5%lo', '10.0.0.5\nflush ruleset']) {
    assert.throws(() => unreachableRules(WEB1, ['uplink'], [bad]));
  }
  assert.throws(() => unreachableRules(WEB1, ['up"; flush'], []));
  assert.throws(() => unreachableRules({ ...WEB1, vm: 'web 1' }, ['uplink'], []));
});

test('removing is possible when there is nothing', () => {
  assert.equal(
    removalRules(WEB1),
    'add table netdev shadowferry-web1.net0\ndelete table netdev shadowferry-web1.net0\n',
  );
});
