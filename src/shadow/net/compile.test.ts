import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compilePlan, type GuestFile } from './compile.ts';
import { bonded, LINK, neighbour, route, STANDBY, shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';

const DIR = '/run/shadowferry/net0/destination';

const text = (files: readonly GuestFile[], name: string): string => {
  const file = files.find(({ path }) => path === `${DIR}/${name}`);
  assert.ok(file, `no ${name} among ${files.map(({ path }) => path).join(' ')}`);
  return file.text;
};

describe('compilePlan', () => {
  it('needs one process of ip from the last link setting to the last route', () => {
    const files = compilePlan(planReplay(shadow(), { continuity: 'replay' }), DIR);
    const steps = text(files, 'attach.steps').split('\n');
    assert.equal(steps.filter((step) => step.startsWith('batch ')).length, 1);
    const batch = text(files, 'attach.1.ip').split('\n');
    assert.equal(batch[0], 'link set dev eth0 mtu 1500');
    assert.match(batch.join('\n'), /link set dev eth0 up\n(.*\n)*route replace 0.0.0.0\/0/);
  });

  it('tells that a stage is over when the batch that holds its end is', () => {
    const files = compilePlan(planReplay(shadow(), { continuity: 'replay' }), DIR);
    const words = text(files, 'attach.steps')
      .split('\n')
      .filter((step) => /^(stage|batch|op)/.test(step))
      .map((step) => step.split(' ').slice(0, 2).join(' '));
    assert.deepEqual(words.slice(-6), [
      words.at(-6),
      'stage prepare',
      'stage raise',
      'stage traffic',
      words.at(-2),
      'stage rest',
    ]);
    assert.match(words.at(-6) ?? '', /^batch/);
  });

  it('gives line k of a batch to operation first + k - 1', () => {
    const plan = planReplay(bonded(['eth0-d']), { continuity: 'hold' });
    const files = compilePlan(plan, DIR);
    const [, first, count] = /^batch (\d+) (\d+) /m.exec(text(files, 'attach.steps')) ?? [];
    const lines = text(files, 'attach.1.ip').trimEnd().split('\n');
    assert.equal(lines.length, Number(count));
    for (const [at, line] of lines.entries()) {
      const operation = plan.sets.attach.find((o) => o.id === Number(first) + at);
      assert.equal(operation?.argv.join(' '), line);
    }
  });

  it('keeps what a batch cannot hold out of it', () => {
    const link = { ...LINK, alias: 'two words' };
    const multicast = [{ family: 'link' as const, address: '33:33:00:00:00:77', users: 1, static: true }];
    const rules = [{ family: 'inet6' as const, priority: 9, args: ['from', 'all', 'lookup', '7'] }];
    const files = compilePlan(planReplay(shadow({ link, multicast, rules }), { continuity: 'replay' }), DIR);
    const steps = text(files, 'attach.steps');
    assert.match(steps, /^op \d+ ip link set dev eth0 alias 'two words'$/m);
    // a failing maddress ends the whole batch
    assert.match(steps, /^op \d+ ip maddress add 33:33:00:00:00:77 dev eth0$/m);
    // the family of a rule is an option of the process
    assert.match(steps, /^batch \d+ 1 0 \S+ ip -6$/m);
  });

  it('does not repeat the swap of names when a batch is given up half way', () => {
    const plan = planReplay(shadow({ standby: STANDBY }), { continuity: 'bridge' });
    const files = compilePlan(plan, DIR);
    const steps = text(files, 'adopt.steps');
    const swap = /^batch (\d+) \d+ (\d+) (\S+) ip$/gm;
    const found = [...steps.matchAll(swap)].find(([, , once]) => once !== '0');
    const [, , once, path] = found ?? [];
    const lines = text(files, path?.slice(DIR.length + 1) ?? '').split('\n');
    assert.equal(lines[Number(once) - 1], 'link set dev eth0-b name eth0');
  });

  it('goes on with an adoption only when there is a bond', () => {
    const plan = planReplay(shadow(), { continuity: 'hold' });
    const steps = text(compilePlan(plan, DIR), 'adopt.steps');
    assert.match(steps, /need eth0-b \|\| return 1\n(.*\n)*batch .*adopt\.2\.ip/);
    assert.doesNotMatch(text(compilePlan(plan, DIR), 'adopt.1.ip'), /down|address replace/);
  });

  it('writes nothing for a set without operations', () => {
    const files = compilePlan(planReplay(shadow(), { continuity: 'replay' }), DIR);
    assert.deepEqual(
      files.map(({ path }) => path.slice(DIR.length + 1)).filter((name) => name.endsWith('.steps')),
      ['attach.steps'],
    );
  });

  it('asks again on a late link only those that were learned', () => {
    const neighbours = [
      neighbour('10.77.0.1', 'reachable'),
      neighbour('10.77.0.5', 'stale'),
      neighbour('10.77.0.6', 'permanent'),
      neighbour('10.77.0.7', 'permanent', { externLearn: true }),
    ];
    const plan = planReplay(shadow({ neighbours }), { continuity: 'replay' });
    assert.equal(
      text(compilePlan(plan, DIR), 'announce.ip'),
      [
        'neighbour flush dev eth0 nud incomplete',
        'neighbour flush dev eth0 nud failed',
        'neighbour replace 10.77.0.1 lladdr 52:54:00:00:00:99 dev eth0 nud probe',
        'neighbour replace 10.77.0.5 lladdr 52:54:00:00:00:99 dev eth0 nud stale',
        // ip flushes those, whatever state was named
        'neighbour replace 10.77.0.7 lladdr 52:54:00:00:00:99 dev eth0 nud permanent extern_learn',
        '',
      ].join('\n'),
    );
  });

  it('keeps its files from other users of the guest', () => {
    for (const { mode } of compilePlan(planReplay(shadow(), { continuity: 'replay' }), DIR)) {
      assert.equal(mode & 0o077, 0);
    }
  });

  it('refuses a NUL, which no shell word can hold', () => {
    const plan = planReplay(shadow({ link: { ...LINK, alias: 'a\0b' } }), { continuity: 'replay' });
    assert.throws(() => compilePlan(plan, DIR), RangeError);
  });

  it('compiles 10,000 routes within half a second of processor time, into one batch', () => {
    const routes = Array.from({ length: 10_000 }, (_, n) =>
      route(`10.${n >> 8}.${n & 255}.0/24`, ['via', '10.77.0.1', 'dev', 'eth0']),
    );
    const given = shadow({ routes });
    const started = process.cpuUsage();
    const files = compilePlan(planReplay(given, { continuity: 'replay' }), DIR);
    const { user, system } = process.cpuUsage(started);
    assert.ok(user + system < 500_000, `${user + system} µs`);
    assert.ok(text(files, 'attach.1.ip').split('\n').length > 10_000);
    // the program reads the steps word by word: the routes are not among them
    assert.ok(text(files, 'attach.steps').length < 10_000);
  });
});
