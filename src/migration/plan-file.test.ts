import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ShadowferryError } from '../errors.ts';
import type { ReplayPlan } from '../shadow/net/plan-model.ts';
import { parsePlan, planText } from './plan-file.ts';
import { parseRequest } from './request.ts';

const replay: ReplayPlan = {
  schema: 1,
  continuity: 'bridge',
  standIn: 'bond',
  match: { mac: '52:54:00:00:00:01', pciPath: '0000:01:00.0' },
  deviceName: 'lan0-d',
  interfaceName: 'lan0',
  sets: { adopt: [], leave: [], attach: [], giveback: [] },
  losses: [{ key: 'ring.rx', value: '256', why: 'it has none' }],
  adaptations: [],
  warnings: [],
};
const request = parseRequest({ vm: 'web1', destination: 'b', devices: { net0: 'nic1' }, dryRun: true });

const nics = [{ nic: 'net0', device: 'nic1', replay }];

/** The problem that a text is refused for. */
function problem(text: string): string {
  try {
    parsePlan('p.json', text);
  } catch (error) {
    assert.ok(error instanceof ShadowferryError && error.code === 'PLAN_INVALID', String(error));
    assert.equal(error.params.file, 'p.json');
    return String(error.params.problem);
  }
  return assert.fail('it was taken');
}

test('a plan that was written is read back, as something to be done', () => {
  const plan = parsePlan('p.json', planText(request, nics));
  assert.deepEqual(plan.request, { ...request, dryRun: false });
  assert.deepEqual(plan.nics, nics);
});

test('a plan names the devices that it was made for, also where nobody asked for them', () => {
  const plan = parsePlan('p.json', planText({ ...request, devices: {} }, nics));
  assert.deepEqual(plan.request.devices, { net0: 'nic1' });
});

test('what is wrong is named', () => {
  const good = JSON.parse(planText(request, nics));
  assert.match(problem(''), /^it is not JSON/);
  assert.match(problem('[]'), /^it is JSON of something else/);
  assert.match(problem('{"type":"result"}'), /^it is JSON of something else/);
  assert.match(problem(JSON.stringify({ ...good, schema: '1' })), /^its schema is "1"/);
  assert.match(problem(JSON.stringify({ ...good, schema: undefined })), /^its schema is undefined/);
  assert.match(problem(JSON.stringify({ ...good, request: { ...good.request, vm: 7 } })), /^request\.vm: /);
  assert.match(
    problem(JSON.stringify({ ...good, nics: [{ ...nics[0], replay: { ...replay, sets: {} } }] })),
    /^nics\.0\.replay\.sets\.adopt: /,
  );
});

test('whatever is read, the only error is PLAN_INVALID', () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => problem(text).length > 0));
});

test('no beginning of a plan is taken for a plan', () => {
  const text = planText(request, nics).trimEnd();
  for (let length = 0; length < text.length; length += 1) problem(text.slice(0, length));
});
