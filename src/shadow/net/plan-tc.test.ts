import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Qdisc, TcClass, TcFilter } from './model.ts';
import { shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';

const qdisc = (parent: string, handle: string, kind = 'htb'): Qdisc => ({ kind, handle, parent, args: [] });
const klass = (id: string, parent: string): TcClass => ({ kind: 'htb', id, parent, args: ['rate', '1Mbit'] });
const filter = (place: string, more: Partial<TcFilter> = {}): TcFilter => ({
  ...{ place, protocol: 'ip', pref: 5, chain: 0, kind: 'matchall', handle: '0x1', args: [] },
  ...more,
});

/** A tree as the kernel lists it: children before their parents. */
const tree = shadow({
  qdiscs: [
    qdisc('1:10', '10:', 'prio'),
    qdisc('10:1', '101:', 'sfq'),
    qdisc('root', '1:'),
    qdisc('ffff:fff1', 'ffff:', 'clsact'),
  ],
  classes: [klass('1:10', '1:1'), klass('1:1', '1:')],
});

const argvOf = (
  of: typeof tree,
  set: 'adopt' | 'attach' | 'giveback' = 'attach',
  mode: 'replay' | 'hold' = 'replay',
) => planReplay(of, { continuity: mode }).sets[set].filter(({ tool }) => tool === 'tc');

describe('traffic control is made again', () => {
  it('parents first, whatever the order in which it was listed', () => {
    assert.deepEqual(
      argvOf(tree).map(({ argv }) => argv.slice(4, 8).join(' ').trim()),
      [
        'root pfifo',
        'root handle 1: htb',
        'parent 1: classid 1:1',
        'parent 1:1 classid 1:10',
        'parent 1:10 handle 10:',
        'parent 10:1 handle 101:',
        'clsact',
      ],
    );
  });
  it('with each qdisc, class and filter restored by an operation of its own', () => {
    const keys = argvOf({ ...tree, filters: [filter('1:'), filter('ingress')] }).flatMap(
      (each) => each.attributes,
    );
    assert.deepEqual(keys.toSorted(), [
      'filter.1:.5.ip.0x1',
      'filter.ingress.5.ip.0x1',
      'qdisc.10:1',
      'qdisc.1:10',
      'qdisc.ffff:fff1',
      'qdisc.root',
      'tcclass.1:1',
      'tcclass.1:10',
    ]);
  });
  it('tables of u32 before the filters that lead to them', () => {
    const filters = [
      filter('1:', { kind: 'u32', handle: '::800', args: ['link', '1:'], pref: 1 }),
      filter('1:', { kind: 'u32', handle: '1:', args: ['divisor', '16'], pref: 9 }),
    ];
    const made = argvOf({ ...tree, filters }).filter(({ argv }) => argv[0] === 'filter');
    assert.deepEqual(
      made.map(({ argv }) => argv.at(-2)),
      ['divisor', 'link'],
    );
  });
  it('before traffic, where filters may be what keeps traffic out, else after it', () => {
    assert.ok(argvOf(tree).every(({ stage }) => stage === 'rest'));
    const gated = { ...tree, filters: [filter('ingress')] };
    assert.ok(argvOf(gated).every(({ stage }) => stage === 'prepare'));
    const adopt = argvOf(gated, 'adopt', 'hold');
    assert.ok(
      adopt.some(({ argv, stage }) => stage === 'prepare' && argv[0] === 'filter' && argv.includes('eth0-b')),
    );
  });
  it('on a shadow interface, and then no more on the device below it', () => {
    const gone = argvOf(tree, 'adopt', 'hold').filter(({ argv }) => argv[1] === 'del');
    assert.deepEqual(
      gone.map(({ argv }) => argv.join(' ')),
      ['qdisc del dev eth0-d root', 'qdisc del dev eth0-d clsact'],
    );
  });
  it('without a program that no file keeps: that is a loss, with the reason', () => {
    const program = { id: 7, why: 'the guest has no bpftool' };
    const plan = planReplay(
      { ...tree, filters: [filter('egress', { kind: 'bpf', program })] },
      { continuity: 'replay' },
    );
    assert.deepEqual(
      plan.losses.map(({ key, why }) => `${key}: ${why}`),
      ['filter.egress.5.ip.0x1: program 7 cannot be attached again: the guest has no bpftool'],
    );
    assert.ok(!plan.sets.attach.some(({ argv }) => argv[0] === 'filter' && argv[1] === 'replace'));
  });
  it('filters of a shared block by the block', () => {
    const [made] = argvOf({ ...tree, filters: [filter('block 22')] }).filter(
      ({ argv }) => argv[0] === 'filter',
    );
    assert.equal(made?.argv.slice(0, 4).join(' '), 'filter replace block 22');
    assert.deepEqual(made?.attributes, ['filter.block22.5.ip.0x1']);
  });
});
