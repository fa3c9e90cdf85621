import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decideRights, explainRefusal } from './userns.ts';

const status = (effective: string) => `Name:\tnode\nCapPrm:\t0000000000000000\nCapEff:\t${effective}\n`;

test('who may administer networks and mounts stays as it is', () => {
  assert.equal(decideRights(status('000001ffffffffff')).action, 'stay');
  assert.equal(decideRights(status('0000000000201000')).action, 'stay');
});

test('who lacks one of the two rights enters a user namespace', () => {
  assert.equal(decideRights(status('0000000000000000')).action, 'enter');
  assert.equal(decideRights(status('0000000000001000')).action, 'enter', 'no CAP_SYS_ADMIN');
  assert.equal(decideRights(status('0000000000200000')).action, 'enter', 'no CAP_NET_ADMIN');
  assert.equal(decideRights('').action, 'enter');
});

test('a refusal names the switch that causes it and the command that changes it', () => {
  const cases = [
    [{ clone: '0' }, 'kernel.unprivileged_userns_clone=1'],
    [{ clone: '1', maximum: '0' }, 'user.max_user_namespaces'],
    [{ clone: '1', maximum: '5', apparmor: '1' }, 'kernel.apparmor_restrict_unprivileged_userns=0'],
  ] as const;
  for (const [switches, command] of cases) {
    const error = explainRefusal(switches, 'unshare: unshare failed: Operation not permitted\n');
    assert.equal(error.code, 'RIGHTS_MISSING');
    assert.ok(error.fix.includes(command), error.fix);
  }
});

test('a refusal without a switch says what was said, and suggests root', () => {
  const error = explainRefusal(
    { maximum: '100' },
    'unshare: unshare failed: Operation not permitted\nmore\n',
  );
  assert.match(error.message, /unshare failed: Operation not permitted\)/);
  assert.match(error.fix, /Run as root/);
});
