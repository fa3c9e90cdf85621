import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { goldenShadow } from './golden.test-data.ts';
import type { NetShadow, Outcome } from './model.ts';
import { type OperationResult, summary, type VerifyPlan, verify } from './verify.ts';

const fateOf = (outcomes: readonly Outcome[], key: string): Outcome => {
  const outcome = outcomes.find((one) => one.key === key);
  assert.ok(outcome, `no outcome for ${key}`);
  return outcome;
};

/** What became of one attribute, in one line. */
const said = (outcomes: readonly Outcome[], key: string): string => {
  const outcome = fateOf(outcomes, key);
  if (outcome.fate === 'adapted') return `adapted to ${outcome.now}: ${outcome.how}`;
  return outcome.fate === 'lost' ? `lost: ${outcome.why}` : 'restored';
};

/** The same shadow with another sysctl value. */
const withSysctl = (shadow: NetShadow, path: string, value: string): NetShadow => ({
  ...shadow,
  sysctls: shadow.sysctls.map((one) => (one.path === path ? { path, value } : one)),
});

const planOf = (plan: Partial<VerifyPlan>): VerifyPlan => ({ adaptations: [], losses: [], ...plan });

const RP_FILTER = 'sysctl.ipv4.conf.rp_filter';

describe('verify, across models', () => {
  it('from e1000e to vmxnet3 loses only what vmxnet3 cannot do', () => {
    const outcomes = verify(goldenShadow('e1000e'), goldenShadow('vmxnet3'));
    assert.deepEqual(
      outcomes.flatMap((one) => (one.fate === 'lost' ? [`${one.key}: ${one.why}`] : [])),
      [
        'coalesce.rx-usecs: vmxnet3 does not report interrupt coalescing',
        'feature.receive-hashing: vmxnet3 has no offload "receive-hashing" (fixed off)',
        'pause.autoneg: vmxnet3 does not report pause frames',
        'pause.rx: vmxnet3 does not report pause frames',
        'pause.tx: vmxnet3 does not report pause frames',
      ],
    );
    const { captured, restored, lost, text } = summary(outcomes);
    assert.equal(restored, captured - 5);
    assert.equal(lost, 5);
    assert.equal(text, `${restored} of ${captured} attributes restored, 0 adapted, 5 lost`);
  });

  it('to a device with smaller rings adapts', () => {
    const outcomes = verify(goldenShadow('e1000e'), goldenShadow('rtl8139'));
    assert.equal(said(outcomes, 'ring.rx'), 'adapted to 64: 8139cp takes at most 64');
  });

  it('to a device that checksums in another way adapts', () => {
    const outcomes = verify(goldenShadow('e1000e'), goldenShadow('rtl8139'));
    assert.equal(
      said(outcomes, 'feature.tx-checksum-ip-generic'),
      'adapted to off: 8139cp has "tx-checksum-ipv4" instead',
    );
    const back = verify(goldenShadow('rtl8139'), goldenShadow('e1000e'));
    assert.equal(
      said(back, 'feature.tx-checksum-ipv4'),
      'adapted to off: e1000e has "tx-checksum-ip-generic" instead',
    );
  });

  it('to a device without one of its rings loses that ring', () => {
    const outcomes = verify(goldenShadow('vmxnet3'), goldenShadow('e1000e'));
    assert.equal(said(outcomes, 'ring.rx-jumbo'), 'lost: e1000e has no ring "rx-jumbo"');
    assert.equal(said(outcomes, 'channel.combined'), 'lost: e1000e does not report channels');
  });

  it('restores what cannot be changed there but is right', () => {
    const before = goldenShadow('vmxnet3'); // highdma can be changed, and is on
    assert.equal(said(verify(before, goldenShadow('e1000e')), 'feature.highdma'), 'restored');
  });

  it('says that there is no device', () => {
    const outcomes = verify(goldenShadow('e1000e-bond'), goldenShadow('e1000e-bond-away'));
    for (const key of ['ring.rx', 'feature.receive-hashing', 'lower.mtu']) {
      assert.equal(said(outcomes, key), 'lost: there is no direct device');
    }
    assert.equal(said(outcomes, 'address.inet.10.77.0.11/24'), 'restored');
  });

  it('finds the state of the device below when the shadow interface is gone', () => {
    const outcomes = verify(goldenShadow('vmxnet3-bond'), goldenShadow('vmxnet3'));
    assert.equal(said(outcomes, 'lower.mtu'), 'restored');
    assert.equal(said(outcomes, 'bond.miimon'), 'lost: there is no bond any more');
  });

  it('clamps the MTU with a reason', () => {
    const before = goldenShadow('e1000e');
    const after = goldenShadow('vmxnet3');
    const large = { ...before, link: { ...before.link, mtu: 9100 } };
    const clamped = { ...after, link: { ...after.link, mtu: 9000 } };
    assert.equal(said(verify(large, clamped), 'link.mtu'), 'adapted to 9000: vmxnet3 takes at most 9000');
  });
});

describe('verify, with what the plan foresaw', () => {
  const before = goldenShadow('e1000e');
  const after = withSysctl(before, 'ipv4/conf/{dev}/rp_filter', '1');

  it('takes the reasons from the plan', () => {
    const lost = planOf({ losses: [{ key: RP_FILTER, value: '2', why: 'because' }] });
    assert.equal(said(verify(before, after, lost), RP_FILTER), 'lost: because');
    const adapted = planOf({ adaptations: [{ key: RP_FILTER, value: '2', now: '1', how: 'nearest' }] });
    assert.equal(said(verify(before, after, adapted), RP_FILTER), 'adapted to 1: nearest');
  });

  it('does not believe an adaptation that did not happen', () => {
    const adapted = planOf({ adaptations: [{ key: RP_FILTER, value: '2', now: '0', how: 'nearest' }] });
    assert.equal(said(verify(before, after, adapted), RP_FILTER), 'lost: it is now 1');
  });

  it('is glad when a foreseen loss did not come', () => {
    const lost = planOf({ losses: [{ key: RP_FILTER, value: '2', why: 'because' }] });
    assert.equal(said(verify(before, before, lost), RP_FILTER), 'restored');
  });
});

describe('verify, with how the operations ended', () => {
  const before = goldenShadow('e1000e');
  const sets = {
    adopt: [],
    leave: [],
    giveback: [],
    attach: [
      { id: 1, stage: 'rest' as const, tool: 'write' as const, argv: ['f', '2'], attributes: [RP_FILTER] },
      {
        id: 2,
        stage: 'prepare' as const,
        tool: 'ethtool' as const,
        argv: ['-G'],
        attributes: ['ring.rx', 'ring.tx', 'feature.rx-all'],
      },
    ],
  };
  const run = (after: NetShadow, results: OperationResult[]) =>
    verify(before, after, planOf({ sets }), results);

  it('says what the operation said', () => {
    const after = withSysctl(before, 'ipv4/conf/{dev}/rp_filter', '1');
    assert.equal(
      said(run(after, [{ id: 1, rc: 1, stderr: 'Permission denied\n' }]), RP_FILTER),
      'lost: the operation failed: Permission denied',
    );
    assert.equal(said(run(after, [{ id: 1, rc: 3 }]), RP_FILTER), 'lost: the operation failed (exit 3)');
    assert.equal(
      said(run(after, [{ id: 1, rc: 1, set: 'adopt', stderr: 'of another set' }]), RP_FILTER),
      'lost: it is now 1',
    );
  });

  it('takes a failed operation for nothing when the value is right', () => {
    assert.equal(said(run(before, [{ id: 1, rc: 1, stderr: 'File exists' }]), RP_FILTER), 'restored');
  });

  it('knows a device that chose another value', () => {
    const driver = before.driver;
    assert.ok(driver);
    const after: NetShadow = {
      ...before,
      driver: {
        ...driver,
        rings: driver.rings.map((ring) => ({ ...ring, value: '520' })),
        features: driver.features.map((one) => (one.name === 'rx-all' ? { ...one, on: true } : one)),
      },
    };
    assert.equal(said(run(after, [{ id: 2, rc: 0 }]), 'ring.rx'), 'adapted to 520: e1000e made it 520');
    // the program tells only of failures
    assert.equal(said(run(after, []), 'ring.rx'), 'adapted to 520: e1000e made it 520');
    assert.equal(
      said(run(after, [{ id: 2, rc: 1, stderr: 'no' }]), 'ring.rx'),
      'lost: the operation failed: no',
    );
    assert.equal(said(verify(before, after), 'ring.rx'), 'lost: it is now 520');
    assert.equal(
      said(run(after, [{ id: 2, rc: 0 }]), 'feature.rx-all'),
      'lost: e1000e left it on when it was turned off',
    );
  });
});

describe('summary', () => {
  it('says that nothing is lost', () => {
    const shadow = goldenShadow('e1000e');
    const { captured, text } = summary(verify(shadow, shadow));
    assert.equal(text, `${captured} of ${captured} attributes restored, 0 adapted, nothing lost`);
  });
});
