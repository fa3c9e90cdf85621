/**
 * docs/shadow.md, row by row, in a real guest: each attribute is given a value that no fresh device has, the VM
 * migrates to another model, and the value is read back with the guest's own tools. It is as before, or it was
 * adapted or lost as documented and as the result says; nothing is silent.
 */
import assert from 'node:assert/strict';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import type { Outcome } from '../../src/shadow/net/model.ts';
import { rowFor } from '../../src/shadow/net/table/row.ts';
import { TABLE } from '../../src/shadow/net/table/table.ts';
import type { AttributeCase, CaseGroup } from './attribute-table/case.ts';
import { GROUPS } from './attribute-table/groups.ts';
import { CACHE, inGuest, MIGRATION_MS, moveOver, SIDE_BY_SIDE } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const MARK = '@case';

/** Runs a piece of shell for each case, each in a subshell, and gives what each printed. */
async function forEach(
  vm: RunningVm,
  cases: readonly AttributeCase[],
  shell: (each: AttributeCase) => string,
): Promise<string[]> {
  const script = cases.flatMap((each, at) => [
    `printf '${MARK} %s\\n' ${at}`,
    `( ${shell(each) || ':'}\n) 2>&1`,
  ]);
  const text = await inGuest(vm, `dev=${GUEST_INTERFACE}\n${script.join('\n')}\n:\n`);
  const said = cases.map(() => '');
  let at = -1;
  for (const line of text.split('\n')) {
    if (line.startsWith(`${MARK} `)) at = Number(line.slice(MARK.length));
    else if (at >= 0) said[at] = `${said[at]}${line}\n`;
  }
  return said.map((each) => each.trim());
}

interface Finding {
  key: string;
  fate: Outcome['fate'] | 'silent';
  was: string;
  is: string;
  told?: Outcome;
  problem?: string;
}

function judge(each: AttributeCase, was: string, is: string, outcomes: readonly Outcome[]): Finding {
  const told = outcomes.find(({ key }) => key === each.key);
  const expected = each.expect ?? { fate: 'restored' };
  const finding = { key: each.key, was, is, ...(told === undefined ? {} : { told }) };
  if (told === undefined) return { ...finding, fate: 'silent', problem: 'the result does not name it' };
  const changed = was !== is;
  if (told.fate === 'restored' && changed)
    return { ...finding, fate: 'silent', problem: 'it changed, and the result says restored' };
  const wrong = (problem: string): Finding => ({ ...finding, fate: told.fate, problem });
  if (told.fate !== expected.fate) return wrong(`it should be ${expected.fate}`);
  if (told.fate === 'adapted' && expected.fate === 'adapted') {
    if (!expected.how.test(told.how)) return wrong('adapted for another reason');
    if (!expected.now.test(is)) return wrong('adapted to another value');
  }
  if (told.fate === 'lost' && expected.fate === 'lost' && !expected.why.test(told.why))
    return wrong('lost for another reason');
  return { ...finding, fate: told.fate };
}

const outcomesOf = ({ shadow }: MigrationResult): Outcome[] => [
  ...shadow.restored,
  ...shadow.adapted,
  ...shadow.lost,
];

async function check(group: CaseGroup): Promise<Finding[]> {
  // of its own: what is known of devices from before decides whether somebody chose a value
  await using known = await mkdtempDisposable(join(tmpdir(), 'sf-known-'));
  await using lab = await Lab.create({
    cacheDir: CACHE,
    devices: group.adopted ? { a: [group.to], b: [group.from] } : { a: [group.from], b: [group.to] },
    log: () => {},
    abilities: join(known.path, 'abilities.json'),
  });
  let vm = await lab.boot({ device: 'nic0', cpus: group.cpus ?? 1 });
  if (group.adopted) {
    vm = (await moveOver(lab, vm, { continuity: group.continuity, device: 'nic0' })).vm;
  }
  const before = await forEach(vm, group.cases, ({ read }) => read);
  const said = await forEach(vm, group.cases, ({ set }) => set);
  const set = await forEach(vm, group.cases, ({ read }) => read);
  for (const [at, each] of group.cases.entries()) {
    const how = `${each.key}: ${before[at]} → ${set[at]}; ${said[at]}`;
    if (each.value !== undefined) assert.match(set[at] ?? '', each.value, how);
    else assert.notEqual(set[at], before[at], how);
  }
  // with `adopted`, back to the first host, whose only device is of the model to come
  const moved = await moveOver(lab, vm, { continuity: group.continuity, device: 'nic0' });
  const now = await forEach(moved.vm, group.cases, ({ read }) => read);
  const outcomes = outcomesOf(moved.result);
  return group.cases.map((each, at) => judge(each, set[at] ?? '', now[at] ?? '', outcomes));
}

describe('every attribute of docs/shadow.md', needsNetworkRights(), () => {
  const findings: Finding[] = [];

  describe('in a guest of its group', SIDE_BY_SIDE, () => {
    for (const group of GROUPS) {
      const title = `${group.name}: ${group.from} → ${group.to}, ${group.continuity}`;
      it(title, { timeout: 4 * MIGRATION_MS }, async () => {
        const found = await check(group);
        findings.push(...found);
        assert.deepEqual(
          found.filter(({ problem }) => problem !== undefined),
          [],
        );
      });
    }
  });

  it('has a case for every row', () => {
    const tested = new Set(
      GROUPS.flatMap(({ cases }) => cases.map(({ key }) => rowFor(TABLE, key)?.attribute)),
    );
    const rows = TABLE.flatMap(({ rows }) => rows.map(({ attribute }) => attribute));
    assert.deepEqual(
      rows.filter((row) => !tested.has(row)),
      [
        'port.*', // those that a newer kernel may have, as with sysctls
        // no emulated device takes these; unit tests hold their forms
        ...['queue.*.tx_maxrate', 'ntuple.*', 'private-flag.*', 'eee.*', 'fec.encoding'],
        'sysctl.*',
      ],
    );
  });

  it('counts at least 90 attributes, none of them silent', () => {
    const keys = new Set(findings.map(({ key }) => key));
    const count = (fate: Finding['fate']) => findings.filter((finding) => finding.fate === fate).length;
    assert.ok(keys.size >= 90, String(keys.size));
    assert.equal(count('silent'), 0);
  });

  after(() => {
    const count = (fate: Finding['fate']) => findings.filter((finding) => finding.fate === fate).length;
    console.log(
      `attributes: ${findings.length} checked, ${count('restored')} restored, ${count('adapted')} adapted, ${count('lost')} lost as documented, ${count('silent')} silent`,
    );
  });
});
