import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { exec } from '../../src/base/exec.ts';
import {
  createLabNetwork,
  inNamespace,
  type LabNetwork,
  type LabNetworkOptions,
  listLeftovers,
} from '../../src/lab/network/network.ts';
import { needsNetworkRights } from './rights.ts';

const options = needsNetworkRights();
let count = 0;

/** A network with an id of its own; the test disposes it. */
function network(more: Partial<LabNetworkOptions> = {}): Promise<LabNetwork> {
  return createLabNetwork({ id: `t${process.pid}-${count++}`, hosts: ['a', 'b'], ...more });
}

/** Round-trip times in ms of `pings` packets from `netns` to `address`; those that were lost are left out. */
async function roundTrips(netns: string, address: string, pings = 10): Promise<number[]> {
  const argv = ['ping', '-n', '-c', `${pings}`, '-i', '0.01', '-W', '0.5', address];
  const { stdout } = await exec(inNamespace(netns, argv), { allowFailure: true });
  return [...stdout.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms));
}

/** A server in host b and a client in host a, each a program of its own; the client prints Mbit/s. */
async function megabitsPerSecond(lab: LabNetwork, seconds: number): Promise<number> {
  const run = (netns: string, code: string) => {
    const [program, ...args] = inNamespace(netns, [process.execPath, '-e', code]);
    return spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  };
  const server = run(
    lab.host('b').netns,
    `require('node:net').createServer({ allowHalfOpen: true }, (s) => {
      let bytes = 0, from = 0;
      s.on('data', (d) => { from ||= performance.now(); bytes += d.length; });
      s.on('end', () => s.end(String((bytes * 8) / 1000 / (performance.now() - from))));
    }).listen(5000, () => console.log('listens'));`,
  );
  await once(server.stdout, 'data');
  const client = run(
    lab.host('a').netns,
    `const s = require('node:net').connect(5000, '${lab.host('b').migrationAddress}');
    const block = Buffer.alloc(65536);
    let more = true;
    const write = () => { while (more && s.write(block)); };
    s.on('drain', write).on('connect', write).on('data', (d) => console.log(String(d)));
    setTimeout(() => { more = false; s.end(); }, ${seconds * 1000});`,
  );
  const [text] = await once(client.stdout, 'data');
  server.kill();
  return Number(String(text));
}

test('both hosts, and only they, are on the migration link', options, async () => {
  await using lab = await network();
  const [a, b] = [lab.host('a'), lab.host('b')];
  assert.equal((await roundTrips(a.netns, b.migrationAddress)).length, 10);
  assert.equal((await roundTrips(b.netns, a.migrationAddress)).length, 10);
  assert.equal((await roundTrips(lab.outside.netns, a.migrationAddress, 2)).length, 0);
});

test(
  'what is on the bridges of both hosts reaches the outside and the other host, IPv4 and IPv6',
  options,
  async () => {
    await using lab = await network();
    for (const [index, host] of lab.hosts.entries()) {
      await exec(['ip', '-n', host.netns, 'addr', 'add', `10.77.0.5${index}/24`, 'dev', host.bridge]);
      await exec(['ip', '-n', host.netns, 'addr', 'add', `fd77::5${index}/64`, 'dev', host.bridge, 'nodad']);
    }
    assert.equal((await roundTrips(lab.outside.netns, '10.77.0.50')).length, 10);
    assert.equal((await roundTrips(lab.outside.netns, 'fd77::51')).length, 10);
    assert.equal((await roundTrips(lab.host('a').netns, '10.77.0.51')).length, 10);
    assert.equal((await roundTrips(lab.host('b').netns, lab.outside.address6)).length, 10);
  },
);

test('a network is usable as soon as it was made, and made quickly', options, async () => {
  const times: number[] = [];
  for (let run = 0; run < 3; run++) {
    const start = performance.now();
    await using lab = await network();
    times.push(performance.now() - start);
    const [first] = await roundTrips(lab.host('a').netns, lab.host('b').migrationAddress, 1);
    assert.ok(first !== undefined && first < 100, `the first packet took ${first} ms`);
  }
  assert.ok(Math.min(...times) < 300, `it took ${times.map(Math.round).join(', ')} ms`);
});

test(
  'interfaces say nothing of their own: no link-local addresses, no snooping, the MTU everywhere',
  options,
  async () => {
    await using lab = await network({ mtu: 1400 });
    await lab.addTap('a', 'tap0');
    for (const netns of [lab.host('a').netns, lab.host('b').netns]) {
      const { stdout } = await exec(['ip', '-n', netns, '-6', '-br', 'addr', 'show', 'scope', 'link']);
      assert.equal(stdout, '');
      const links = await exec(['ip', '-n', netns, '-d', 'link', 'show']);
      assert.doesNotMatch(links.stdout, /mcast_snooping 1|stp_state 1|mtu 1500/);
    }
  },
);

test('a program started in a namespace is the process that was started', options, async () => {
  await using lab = await network();
  const { netns } = lab.host('a');
  const [program, ...args] = inNamespace(netns, [
    process.execPath,
    '-e',
    'console.log(1); setInterval(() => {}, 1000)',
  ]);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const found = listLeftovers(lab.id).processes;
  assert.deepEqual(
    found.map(({ pid }) => pid),
    [child.pid],
  );
  assert.equal(found[0]?.netns, netns);
  assert.equal(readlinkSync(`/proc/${child.pid}/ns/net`), `net:[${statSync(`/run/netns/${netns}`).ino}]`);
});

test('a tap is a port of its host’s bridge until it is removed', options, async () => {
  await using lab = await network();
  const { netns, bridge } = lab.host('b');
  await lab.addTap('b', 'tap-vm1', { mtu: 9000 });
  const { stdout } = await exec(['ip', '-n', netns, '-o', 'link', 'show', 'master', bridge, 'type', 'tun']);
  assert.match(stdout, /tap-vm1: <[^>]*\bUP\b[^>]*> mtu 9000 /);
  await assert.rejects(lab.addTap('b', 'tap-vm1'), { code: 'COMMAND_FAILED' });
  await lab.removeTap('b', 'tap-vm1');
  const after = await exec(['ip', '-n', netns, '-o', 'link', 'show', 'type', 'tun']);
  assert.equal(after.stdout, '');
  await lab.addTap('b', 'carrier'); // a word of iproute2's own
  await lab.removeTap('b', 'carrier');
  await assert.rejects(lab.addTap('b', 'tap0', { mtu: 1 }), { code: 'COMMAND_FAILED' });
  const none = await exec(['ip', '-n', netns, '-o', 'link', 'show', 'type', 'tun']);
  assert.equal(none.stdout, '', 'a tap that cannot be made whole is not left');
  await assert.rejects(lab.addTap('c', 'tap0'), { code: 'UNKNOWN_HOST' });
  await assert.rejects(lab.addTap('b', 'tap0\nlink del br0'), { code: 'INPUT_FIELD' });
});

test('a link has the rate that it is given, and another when that is changed', options, async (t) => {
  await using lab = await network({ migrationLink: { rateMbit: 20 } });
  const limited = await megabitsPerSecond(lab, 1);
  assert.ok(limited > 14 && limited < 24, `${limited} Mbit/s at 20`);
  await lab.setLink('migration', { rateMbit: 60 });
  const faster = await megabitsPerSecond(lab, 1);
  assert.ok(faster > 45 && faster < 66, `${faster} Mbit/s at 60`);
  await lab.setLink('migration', {});
  const free = await megabitsPerSecond(lab, 0.3);
  assert.ok(free > 200, `${free} Mbit/s without a limit`);
  t.diagnostic(`20: ${limited.toFixed(1)}, 60: ${faster.toFixed(1)}, none: ${free.toFixed(0)} Mbit/s`);
});

test(
  'a link has the delay that it is given, in each direction, and a connection lives through the changes',
  options,
  async (t) => {
    await using lab = await network();
    if (lab.features.delay === 'none') return t.skip(lab.features.reason);
    const [a, b] = [lab.host('a'), lab.host('b')];
    const code = (rest: string) => [process.execPath, '-e', `const net = require('node:net'); ${rest}`];
    const run = (netns: string, argv: string[]) => {
      const [program, ...args] = inNamespace(netns, argv);
      return spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    };
    const server = run(
      b.netns,
      code(`net.createServer((s) => s.pipe(s)).listen(5000, () => console.log(1))`),
    );
    await once(server.stdout, 'data');
    const client = run(
      a.netns,
      code(
        `const s = net.connect(5000, '${b.migrationAddress}'); process.stdin.pipe(s).pipe(process.stdout)`,
      ),
    );
    const echoed = async (text: string) => {
      client.stdin.write(text);
      assert.equal(String((await once(client.stdout, 'data'))[0]), text);
    };
    await echoed('start\n'); // also: the neighbours are known, or a lost question for them would cost a second
    for (const delayMs of [5, 20, 2]) {
      await lab.setLink('migration', { delayMs });
      // The shortest, because what other work on this machine adds is not the link's.
      const shortest = Math.min(...(await roundTrips(a.netns, b.migrationAddress, 20)));
      assert.ok(shortest >= 2 * delayMs && shortest < 2 * delayMs + 2, `${shortest} ms for twice ${delayMs}`);
      t.diagnostic(`${delayMs} ms by ${lab.features.delay}: round trip ${shortest} ms`);
      await echoed(`${delayMs}\n`);
    }
    await lab.setLink('migration', {});
    const back = Math.min(...(await roundTrips(a.netns, b.migrationAddress)));
    assert.ok(back < 2, `${back} ms after the delay was taken away`);
    await echoed('end\n');
  },
);

test('an uplink can be delayed by itself', options, async (t) => {
  await using lab = await network();
  if (lab.features.delay === 'none') return t.skip(lab.features.reason);
  for (const [index, { netns, bridge }] of lab.hosts.entries()) {
    await exec(['ip', '-n', netns, 'addr', 'add', `10.77.0.5${index}/24`, 'dev', bridge]);
  }
  await lab.setLink('b', { delayMs: 10 });
  assert.ok(Math.min(...(await roundTrips(lab.outside.netns, '10.77.0.51'))) >= 20);
  assert.ok(Math.min(...(await roundTrips(lab.outside.netns, '10.77.0.50'))) < 5);
});

test('a delay line that has died is told of, and setting the link again repairs it', options, async (t) => {
  await using lab = await network();
  if (lab.features.delay !== 'delay-line') return t.skip('this kernel has netem: there is no delay line');
  await lab.setLink('migration', { delayMs: 1 });
  assert.deepEqual(lab.problems(), []);
  const line = listLeftovers(lab.id).processes.find(({ name }) => name === 'perl');
  assert.ok(line, 'the delay line is a process in a namespace');
  process.kill(line.pid, 'SIGKILL');
  while (lab.problems().length === 0) await new Promise(setImmediate);
  assert.match(lab.problems()[0] ?? '', /link "migration"/);
  await lab.setLink('migration', { delayMs: 1 });
  assert.deepEqual(lab.problems(), []);
  assert.equal((await roundTrips(lab.host('a').netns, lab.host('b').migrationAddress)).length, 10);
});

test('a link that was cut carries nothing, and carries again once it was restored', options, async () => {
  await using lab = await network();
  const [a, b] = [lab.host('a'), lab.host('b')];
  for (let round = 0; round < 3; round++) {
    await lab.cutMigrationLink();
    assert.equal((await roundTrips(a.netns, b.migrationAddress, 2)).length, 0);
    await lab.restoreMigrationLink();
    assert.equal((await roundTrips(a.netns, b.migrationAddress, 2)).length, 2);
  }
});

test('a link that is cut stays cut while its shape is changed', options, async (t) => {
  await using lab = await network();
  if (lab.features.delay === 'none') return t.skip(lab.features.reason);
  const [a, b] = [lab.host('a'), lab.host('b')];
  await lab.cutMigrationLink();
  await lab.setLink('migration', { delayMs: 1 });
  assert.equal((await roundTrips(a.netns, b.migrationAddress, 2)).length, 0);
  await lab.restoreMigrationLink();
  assert.equal((await roundTrips(a.netns, b.migrationAddress, 2)).length, 2);
  await lab.cutMigrationLink();
  await lab.setLink('migration', {});
  assert.equal((await roundTrips(a.netns, b.migrationAddress, 2)).length, 0);
});

test('disposing ends the processes, removes everything, and may be done again', options, async () => {
  const lab = await network({ migrationLink: { rateMbit: 100 } });
  await lab.addTap('a', 'tap0');
  const deaf = "trap '' TERM INT HUP; echo 1; while :; do sleep 100; done";
  const [program, ...args] = inNamespace(lab.host('a').netns, ['sh', '-c', deaf]);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  assert.ok(listLeftovers(lab.id).processes.length > 0);
  await lab.dispose();
  assert.deepEqual(listLeftovers(lab.id), { namespaces: [], processes: [] });
  assert.equal((await ended)[1], 'SIGKILL');
  await lab.dispose();
});

test('a second network of the same id is refused and leaves the first alone', options, async () => {
  await using lab = await network();
  await assert.rejects(createLabNetwork({ id: lab.id, hosts: ['a', 'b'] }), { code: 'LAB_NETWORK_EXISTS' });
  assert.equal(listLeftovers(lab.id).namespaces.length, 3);
});

test('a network that cannot be built is removed again', options, async () => {
  const id = `t${process.pid}-half`;
  const impossible = createLabNetwork({ id, hosts: ['a', 'b'], migrationLink: { rateMbit: -1 } });
  await assert.rejects(impossible, { code: 'INPUT_FIELD' });
  assert.deepEqual(listLeftovers(id), { namespaces: [], processes: [] });
});
