import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { joinWords, nexthopsAt, ownValue, routeWords } from './route-words.ts';

describe('words of a route', () => {
  it('are the arguments, put together again', () => {
    const words = 'via inet6 dev metric mtu lock encap ip mpls seg6 tos nexthop onlink table x'.split(' ');
    const args = fc.array(fc.oneof(fc.constantFrom(...words), fc.string()));
    fc.assert(fc.property(args, (given) => assert.deepEqual(joinWords(routeWords(given)), given)));
  });

  it('mean something only where a word is due', () => {
    for (const name of ['via', 'metric', 'tos', 'nexthop', 'encap', 'expires']) {
      const args = ['dev', name, 'metric', '5'];
      assert.equal(ownValue(args, 'dev'), name);
      assert.equal(ownValue(args, 'metric'), '5');
      if (name !== 'metric') assert.equal(ownValue(args, name), undefined);
      assert.equal(nexthopsAt(args), args.length);
    }
  });

  it('leave to an encapsulation, and to next hops, what is theirs', () => {
    const encapsulated = 'encap ip id 5 src 0.0.0.0 dst 10.0.0.9 ttl 0 tos 8 via 10.0.0.1 dev eth0'.split(
      ' ',
    );
    assert.equal(ownValue(encapsulated, 'tos'), undefined);
    assert.equal(ownValue(encapsulated, 'via'), '10.0.0.1');
    const hops = 'mtu lock 1400 nexthop via inet6 fe80::1 dev eth0 weight 2'.split(' ');
    assert.equal(nexthopsAt(hops), 3);
    assert.equal(ownValue(hops, 'via'), undefined);
    assert.equal(ownValue(hops, 'mtu'), '1400');
  });
});
