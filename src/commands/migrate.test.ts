import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import type { PlanFile } from '../migration/plan-file.ts';
import { parseRequest } from '../migration/request.ts';
import { requestOf } from './migrate.ts';
import { type ContinuityOption, continuityOption } from './options.ts';

const planned = parseRequest({ vm: 'web1', destination: 'b', devices: { net0: 'nic1' }, continuity: 'hold' });
const plan: PlanFile = {
  type: 'shadowferry-plan',
  schema: 2,
  request: { ...planned, limits: { ...planned.limits, attachMs: 7 } },
  nics: [
    {
      nic: 'net0',
      device: 'nic1',
      replay: {
        schema: 1,
        continuity: 'hold',
        standIn: 'bond',
        match: { mac: '52:54:00:00:00:01', pciPath: '0000:01:00.0' },
        deviceName: 'lan0-d',
        interfaceName: 'lan0',
        sets: { adopt: [], leave: [], attach: [], giveback: [] },
        losses: [],
        adaptations: [],
        warnings: [],
      },
    },
  ],
};
const BULK = { bulkRate: 200_000 };

const refused = (field: string, says: RegExp) => (error: unknown) =>
  error instanceof ShadowferryError &&
  error.code === 'INPUT_FIELD' &&
  error.params.field === field &&
  says.test(error.message);

test('options become a request; what is left out has its default', () => {
  const options = {
    ...BULK,
    to: 'b',
    device: { net0: 'nic1' },
    maxBandwidth: 5,
    downtimeLimit: 40,
    persist: true,
  };
  assert.deepEqual(
    requestOf('web1', options, undefined),
    parseRequest({
      vm: 'web1',
      destination: 'b',
      devices: { net0: 'nic1' },
      maxBandwidth: 5,
      downtimeLimitMs: 40,
      persist: true,
    }),
  );
});

test('a mode for all NICs and modes of single ones', () => {
  const given = ['hold', 'net1=replay', 'net2=auto'].reduce(
    (before: ContinuityOption, text) => continuityOption(text, before),
    {},
  );
  const { continuity, continuityOf } = requestOf('web1', { ...BULK, to: 'b', continuity: given }, undefined);
  assert.equal(continuity, 'hold');
  assert.deepEqual(continuityOf, { net1: 'replay', net2: 'auto' });
  for (const bad of ['=hold', 'net0=', 'net0=hold=bridge', 'bridge', 'net1=hold']) {
    assert.throws(() => continuityOption(bad, given), refused('--continuity', /./), bad);
  }
});

test('a plan is the request, and options may repeat it', () => {
  assert.deepEqual(requestOf(undefined, BULK, plan), plan.request);
  const same = { ...BULK, to: 'b', device: { net0: 'nic1' }, continuity: { all: 'hold' } };
  assert.deepEqual(requestOf('web1', same, plan), plan.request);
  assert.deepEqual(requestOf('web1', { ...same, dryRun: true }, plan), { ...plan.request, dryRun: true });
});

test('an option that contradicts the plan is named', () => {
  const contradicts = (vm: string, options: object, field: string) =>
    assert.throws(() => requestOf(vm, { ...BULK, ...options }, plan), refused(field, /contradicts the plan/));
  contradicts('web2', {}, 'vm');
  contradicts('web1', { to: 'a' }, '--to');
  contradicts('web1', { device: { net0: 'nic0' } }, '--device');
  contradicts('web1', { continuity: { all: 'auto' } }, '--continuity');
  contradicts('web1', { continuity: { of: { net0: 'replay' } } }, '--continuity');
  contradicts('web1', { device: { net1: 'nic1' } }, '--device');
  contradicts('web1', { strategy: 'postcopy' }, '--strategy');
  contradicts('web1', { maxBandwidth: 1 }, '--max-bandwidth');
  contradicts('web1', { downtimeLimit: 1 }, '--downtime-limit');
});

test('without a plan, a VM and a destination must be named', () => {
  assert.throws(() => requestOf(undefined, { ...BULK, to: 'b' }, undefined), refused('vm', /is missing/));
  assert.throws(() => requestOf('web1', BULK, undefined), refused('--to', /is missing/));
});
