import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Check, checksOf } from '../base/check.ts';
import { verdict } from './doctor.ts';
import { renderChecks, wrap } from './doctor-table.ts';

const { ok, warn, missing } = checksOf('Programs');

test('the demo can run when nothing is missing, whatever is warned about', () => {
  assert.equal(verdict([ok('a', 'b'), warn('c', 'd', 'e')]), undefined);
});

test('missing programs are one error with one command', () => {
  const error = verdict([missing('tc', 'not found', 'x'), missing('ip', 'not found', 'y'), ok('a', 'b')]);
  assert.equal(error?.code, 'TOOL_MISSING');
  assert.equal(error.message, 'ip, tc is missing on this machine');
  assert.equal(error.fix, 'Run: sudo apt-get install -y --no-install-recommends iproute2');
  assert.equal(error.exitCode, 4);
});

test('anything else that is missing is named with what was found and what to do', () => {
  const error = verdict([
    missing('tap', 'Operation not supported', 'As root: modprobe tun'),
    missing('tc', 'n', 'x'),
  ]);
  assert.equal(error?.code, 'MACHINE_LACKS');
  assert.equal(
    error.message,
    'this machine lacks what the demo needs: tap (Operation not supported); tc (n)',
  );
  assert.equal(error.fix, 'As root: modprobe tun x');
});

test('the table has its columns in line, advice below, and no line wider than the terminal', () => {
  const checks: Check[] = [
    ok('short', 'fine'),
    warn(
      'much longer',
      'one two three four five six seven eight nine ten',
      'do this and that and all of the rest',
    ),
    checksOf('Other').missing('x', 'gone', 'get it'),
  ];
  assert.equal(
    renderChecks(checks, 48, false),
    [
      'Programs',
      '  ✔ short        fine',
      '  ! much longer  one two three four five six',
      '                 seven eight nine ten',
      '                 → do this and that and all of',
      '                   the rest',
      '',
      'Other',
      '  ✖ x            gone',
      '                 → get it',
      '',
    ].join('\n'),
  );
});

test('colours are used only when asked for', () => {
  const ESC = String.fromCharCode(27);
  assert.ok(!renderChecks([ok('a', 'b')], 80, false).includes(ESC));
  assert.ok(renderChecks([ok('a', 'b')], 80, true).includes(ESC));
});

test('a word longer than the line stays whole', () => {
  assert.deepEqual(wrap('a incomprehensibilities b', 5), ['a', 'incomprehensibilities', 'b']);
  assert.deepEqual(wrap('', 5), ['']);
});
