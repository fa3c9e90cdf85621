/** Whatever is wrong with the input is said before anything happens: by its code, its field, its exit code. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CATALOGUE, type ErrorCode, KINDS } from '../../src/errors.ts';
import { Lab } from '../../src/lab/lab.ts';
import { listLeftovers } from '../../src/lab/network/network.ts';
import { labStatus } from '../../src/lab/status.ts';
import { makeState, objects, runCli } from './cli-process.ts';
import { needsNetworkRights } from './rights.ts';

interface Case {
  name: string;
  args: string[];
  code: ErrorCode;
  /** In the message. */
  says: RegExp;
}

const state = makeState();
/** A state directory without a lab. */
const empty = makeState();
/** Files that are no plans, and directories where a file is wanted. */
const files = makeState();
const file = (name: string) => join(files, name);
let lab: Lab;

const BAD: Case[] = [
  {
    name: 'an unknown model to move from',
    args: ['demo', '--from', 'nosuch'],
    code: 'UNKNOWN_MODEL',
    says: /--from: "nosuch"/,
  },
  {
    name: 'an unknown model to move to',
    args: ['demo', '--to', 'nosuch'],
    code: 'UNKNOWN_MODEL',
    says: /--to: "nosuch"/,
  },
  {
    name: 'a device that is no NIC',
    args: ['demo', '--to', 'nvme'],
    code: 'UNKNOWN_MODEL',
    says: /--to: "nvme"/,
  },
  {
    name: 'a standby of no known kind',
    args: ['demo', '--standby', 'x'],
    code: 'UNKNOWN_MODE',
    says: /--standby: "x"/,
  },
  {
    name: 'memory that is no number',
    args: ['demo', '--memory', 'abc'],
    code: 'INPUT_FIELD',
    says: /--memory: "abc"/,
  },
  {
    name: 'memory that no machine has',
    args: ['lab', 'up', '--memory', '1e9'],
    code: 'INPUT_FIELD',
    says: /--memory: "1e9"/,
  },
  {
    name: 'a report that cannot be written, of the demo',
    args: ['demo', '--report', file('directory')],
    code: 'INPUT_FIELD',
    says: /--report: .*is a directory/,
  },
  { name: 'a second lab', args: ['lab', 'up'], code: 'LAB_EXISTS', says: /a lab is up already/ },
  {
    name: 'an unknown host',
    args: ['migrate', 'web1', '--to', 'c'],
    code: 'UNKNOWN_HOST',
    says: /--to: there is no host "c"/,
  },
  {
    name: 'an unknown VM',
    args: ['migrate', 'web9', '--to', 'b'],
    code: 'UNKNOWN_VM',
    says: /vm: there is no VM "web9"/,
  },
  { name: 'no VM', args: ['migrate', '--to', 'b'], code: 'INPUT_FIELD', says: /vm: is missing/ },
  { name: 'no destination', args: ['migrate', 'web1'], code: 'INPUT_FIELD', says: /--to: is missing/ },
  {
    name: 'the host where it is',
    args: ['migrate', 'web1', '--to', 'a'],
    code: 'SAME_HOST',
    says: /destination: VM "web1" already runs on host "a"/,
  },
  {
    name: 'an unknown continuity',
    args: ['migrate', 'web1', '--to', 'b', '--continuity', 'x'],
    code: 'UNKNOWN_MODE',
    says: /continuity: "x"/,
  },
  {
    name: 'an unknown strategy',
    args: ['migrate', 'web1', '--to', 'b', '--strategy', 'x'],
    code: 'UNKNOWN_MODE',
    says: /strategy: "x"/,
  },
  {
    name: 'a rate that is no number',
    args: ['migrate', 'web1', '--to', 'b', '--max-bandwidth', '1g'],
    code: 'INPUT_FIELD',
    says: /--max-bandwidth: "1g"/,
  },
  {
    name: 'a blackout of nothing',
    args: ['migrate', 'web1', '--to', 'b', '--downtime-limit', '0'],
    code: 'INPUT_FIELD',
    says: /--downtime-limit: "0"/,
  },
  {
    name: 'an unknown device',
    args: ['migrate', 'web1', '--to', 'b', '--device', 'net0=nic9'],
    code: 'UNKNOWN_DEVICE',
    says: /devices\.net0: there is no device "nic9" on host "b"/,
  },
  {
    name: 'an unknown NIC',
    args: ['migrate', 'web1', '--to', 'b', '--device', 'net9=nic0'],
    code: 'UNKNOWN_DEVICE',
    says: /devices\.net9: there is no device "net9" on VM "web1"/,
  },
  {
    name: 'a device without a NIC',
    args: ['migrate', 'web1', '--to', 'b', '--device', 'nic0'],
    code: 'INPUT_FIELD',
    says: /--device: "nic0" is not NIC=DEVICE/,
  },
  {
    name: 'a NIC that is given twice',
    args: ['migrate', 'web1', '--to', 'b', '--device', 'net0=nic0', '--device', 'net0=nic1'],
    code: 'DEVICE_CLAIMED_TWICE',
    says: /--device net0: device "nic1"/,
  },
  {
    name: 'a device that another VM holds',
    args: ['migrate', 'web1', '--to', 'b', '--device', 'net0=nic1'],
    code: 'INPUT_FIELD',
    says: /devices\.net0: .*nic1 is held by VM "web2"/,
  },
  {
    name: 'an option that is none',
    args: ['migrate', 'web1', '--to', 'b', '--nope'],
    code: 'INPUT_FIELD',
    says: /command line: unknown option '--nope'/,
  },
  {
    name: 'a report into a directory',
    args: ['migrate', 'web1', '--to', 'b', '--report', file('directory')],
    code: 'INPUT_FIELD',
    says: /--report: .*is a directory/,
  },
  {
    name: 'a report below a file',
    args: ['migrate', 'web1', '--to', 'b', '--report', file('text/report.html')],
    code: 'INPUT_FIELD',
    says: /--report: .*cannot be written/,
  },
  {
    name: 'a report where nobody may write',
    args: ['migrate', 'web1', '--to', 'b', '--report', '/proc/none/report.html'],
    code: 'INPUT_FIELD',
    says: /--report: .*cannot be written/,
  },
  {
    name: 'a plan to be written into a directory',
    args: ['migrate', 'web1', '--to', 'b', '--dry-run', '--plan-out', file('directory')],
    code: 'INPUT_FIELD',
    says: /--plan-out: .*is a directory/,
  },
  {
    name: 'a plan that is not there',
    args: ['migrate', '--plan', file('nowhere')],
    code: 'PLAN_INVALID',
    says: /nowhere is not a migration plan: it cannot be read/,
  },
  {
    name: 'a plan that is a directory',
    args: ['migrate', '--plan', file('directory')],
    code: 'PLAN_INVALID',
    says: /it cannot be read/,
  },
  {
    name: 'a plan that is not JSON',
    args: ['migrate', '--plan', file('text')],
    code: 'PLAN_INVALID',
    says: /text is not a migration plan: it is not JSON/,
  },
  {
    name: 'a plan that is JSON of something else',
    args: ['migrate', '--plan', file('other')],
    code: 'PLAN_INVALID',
    says: /JSON of something else/,
  },
  {
    name: 'a continuity of a NIC that is not there',
    args: ['migrate', 'web1', '--to', 'b', '--continuity', 'net7=hold'],
    code: 'UNKNOWN_DEVICE',
    says: /continuityOf\.net7/,
  },
  {
    name: 'a plan that is null',
    args: ['migrate', '--plan', file('null')],
    code: 'PLAN_INVALID',
    says: /JSON of something else/,
  },
  {
    name: 'a plan of another schema',
    args: ['migrate', '--plan', file('schema')],
    code: 'PLAN_INVALID',
    says: /its schema is 1/,
  },
  {
    name: 'a plan that was cut off',
    args: ['migrate', '--plan', file('truncated')],
    code: 'PLAN_INVALID',
    says: /it is not JSON/,
  },
  {
    name: 'a plan without a part',
    args: ['migrate', '--plan', file('part')],
    code: 'PLAN_INVALID',
    says: /nics\.0\.replay\.match: /,
  },
  {
    name: 'a plan with an unknown continuity',
    args: ['migrate', '--plan', file('mode')],
    code: 'PLAN_INVALID',
    says: /request\.continuity: /,
  },
  {
    name: 'a plan for another host',
    args: ['migrate', 'web1', '--to', 'a', '--plan', file('good')],
    code: 'INPUT_FIELD',
    says: /--to: "a" contradicts the plan, which says "b"/,
  },
  {
    name: 'a plan for another VM',
    args: ['migrate', 'web9', '--plan', file('good')],
    code: 'INPUT_FIELD',
    says: /vm: "web9" contradicts the plan/,
  },
  { name: 'an unknown VM to attach to', args: ['attach', 'web9'], code: 'UNKNOWN_VM', says: /"web9"/ },
  { name: 'an unknown VM to list', args: ['migrations', 'web9'], code: 'UNKNOWN_VM', says: /"web9"/ },
];

const WITHOUT_LAB: Case[] = [
  { name: 'migrate', args: ['migrate', 'web1', '--to', 'b'], code: 'LAB_MISSING', says: /there is no lab/ },
  { name: 'attach', args: ['attach', 'web1'], code: 'LAB_MISSING', says: /there is no lab/ },
  { name: 'lab status', args: ['lab', 'status'], code: 'LAB_MISSING', says: /there is no lab/ },
  { name: 'migrations', args: ['migrations'], code: 'LAB_MISSING', says: /there is no lab/ },
  {
    name: 'lab up with an unknown model',
    args: ['lab', 'up', '--devices-b', 'e1000e,nosuch'],
    code: 'UNKNOWN_MODEL',
    says: /--devices-b: "nosuch"/,
  },
  {
    name: 'lab up with more direct NICs than devices',
    args: ['lab', 'up', '--nics', '2'],
    code: 'INPUT_FIELD',
    says: /--nics: 2 direct NICs need/,
  },
  {
    name: 'lab up with a device on a network that has no name',
    args: ['lab', 'up', '--devices-a', 'e1000e@'],
    code: 'INPUT_FIELD',
    says: /--devices-a: "" is no name of a network/,
  },
  {
    name: 'an unknown continuity of one NIC',
    args: ['migrate', 'web1', '--to', 'b', '--continuity', 'net0=x'],
    code: 'UNKNOWN_MODE',
    says: /continuityOf\.net0: "x"/,
  },
  {
    name: 'lab up with an empty model',
    args: ['lab', 'up', '--devices-a', 'e1000e,'],
    code: 'INPUT_FIELD',
    says: /--devices-a: /,
  },
];

/** Runs it for people and for programs; both must say the same. One after the other, as one at a time may drive a VM. */
async function refused(directory: string, { args, code, says }: Case): Promise<void> {
  const plain = await runCli(directory, args);
  const json = await runCli(directory, [...args, '--json']);
  const { exit } = KINDS[CATALOGUE[code].kind];
  assert.deepEqual([plain.code, json.code], [exit, exit], `${plain.stderr}${json.stdout}`);
  assert.equal(plain.stdout, '');
  assert.match(plain.stderr, new RegExp(`\\(${code}\\)\\n {2}\\S`));
  assert.match(plain.stderr, says);
  assert.doesNotMatch(plain.stderr, /\n {4}at /, 'no stack');
  const [error, ...more] = objects(json);
  assert.deepEqual([error?.type, error?.code, more], ['error', code, []]);
  assert.match(String(error?.message), says);
}

/** All that a command could have changed. */
async function everything(): Promise<unknown> {
  return {
    status: await labStatus(lab),
    leftovers: listLeftovers(lab.id),
    migrations: lab.journal.migrations().map(({ id, ending }) => ({ id, ending })),
    state: readdirSync(state),
    files: readdirSync(files).sort(),
    directories: readdirSync(lab.directory).sort(),
  };
}

describe('bad input changes nothing', needsNetworkRights(), () => {
  before(async () => {
    const up = await runCli(state, ['lab', 'up', '--devices-b', 'vmxnet3,e1000e', '--json']);
    assert.equal(up.code, 0, up.stderr + up.stdout);
    lab = Lab.open(String(objects(up)[0]?.directory));
    await lab.ownership.claimDevice({ host: 'b', device: 'nic1', vm: 'web2' });
    const dry = await runCli(state, [
      'migrate',
      'web1',
      '--to',
      'b',
      '--dry-run',
      '--plan-out',
      file('good'),
    ]);
    assert.equal(dry.code, 0, dry.stderr);
    const text = readFileSync(file('good'), 'utf8');
    const plan = JSON.parse(text);
    mkdirSync(file('directory'));
    writeFileSync(file('text'), 'not a plan\n');
    writeFileSync(file('other'), '{"type":"result","schema":1}');
    writeFileSync(file('null'), 'null');
    writeFileSync(file('schema'), JSON.stringify({ ...plan, schema: 1 }));
    writeFileSync(file('truncated'), text.slice(0, text.length / 2));
    const [planned] = plan.nics;
    const nics = [{ ...planned, replay: { ...planned.replay, match: undefined } }];
    writeFileSync(file('part'), JSON.stringify({ ...plan, nics }));
    writeFileSync(file('mode'), JSON.stringify({ ...plan, request: { ...plan.request, continuity: 'x' } }));
  });

  after(async () => {
    lab?.close();
    await runCli(state, ['lab', 'down']);
    for (const directory of [state, empty, files]) rmSync(directory, { recursive: true, force: true });
  });

  for (const each of BAD) {
    test(each.name, async () => {
      const before = await everything();
      await refused(state, each);
      assert.deepEqual(await everything(), before);
    });
  }

  for (const each of WITHOUT_LAB) {
    test(`without a lab: ${each.name}`, async () => {
      await refused(empty, each);
      assert.deepEqual(readdirSync(empty), []);
    });
  }

  test('without a lab, "lab down" has nothing to do', async () => {
    const { code, stdout } = await runCli(empty, ['lab', 'down']);
    assert.deepEqual([code, stdout], [0, 'There is no lab.\n']);
  });
});
