/** What is known of a VM's device: shown, compared, remembered, and watched through all that may happen to a watch. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { labAccess } from '../../src/lab/access.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { createStandingLab } from '../../src/lab/standing.ts';
import { labStatus } from '../../src/lab/status.ts';
import { disconnectVm } from '../../src/migration/vm.ts';
import { watchVm } from '../../src/observe/watch.ts';
import type { WatchEvent } from '../../src/observe/watch-events.ts';
import { type CliProcess, makeState, objects, runCli, startCli } from './cli-process.ts';
import { CACHE, MIGRATION_MS } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';
import { Changed, changedKey, historyIn, isType, LIMIT } from './watching.ts';

const state = makeState();
const saved = join(state, 'saved.json');
let lab: Lab;
let watching: CliProcess | undefined;

/** Runs a shell script in the guest, as one who only looks. */
async function inGuest(script: string): Promise<string> {
  const signal = deadline('the guest agent', 60_000);
  return labAccess(lab, 'web1').look(signal, async ({ agent }) => {
    await agent.waitReady({ signal });
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    const { stdout } = await agent.exec(['/bin/sh', '-s'], { input: `set -u\n${script}`, env, check: true });
    return stdout;
  });
}

const WATCHERS = `grep -l 'shadowferry-watc[h]/watcher' /proc/[0-9]*/cmdline 2>/dev/null | wc -l`;

/** A watch in this process, which asks for signs of life often, does not wait for them long, and captures as often as something changes. */
class WatchHere {
  readonly events: WatchEvent[] = [];
  readonly #listeners = new Set<(event: WatchEvent) => void>();
  readonly #ending = new AbortController();
  readonly #done: Promise<void>;

  constructor() {
    this.#done = watchVm({
      access: labAccess(lab, 'web1'),
      store: lab.shadows,
      signal: this.#ending.signal,
      pingMs: 500,
      pongMs: 3_000,
      busyShare: 1,
      emit: (event) => {
        this.events.push(event);
        for (const listener of this.#listeners) listener(event);
      },
    });
    this.#done.catch(() => {}); // `end` tells
  }

  #wait(accepts: (event: WatchEvent) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#listeners.add((event) => {
        if (accepts(event)) resolve();
      });
      this.#done.catch(reject);
    });
  }

  /** The next event of a type from now on. */
  next(type: WatchEvent['type']): Promise<void> {
    return this.#wait((event) => event.type === type);
  }

  /** The next change of an attribute. */
  changed(key: string): Promise<void> {
    return this.#wait((event) => event.type === 'changed' && event.changes.some((each) => each.key === key));
  }

  async end(): Promise<void> {
    this.#ending.abort();
    await this.#done;
  }
}

/** Until the interface has its own IPv6 address, and all that comes with it. */
const CALM = `
n=0
until case $(ip -6 -o address show dev lan0 scope link) in '' | *tentative*) false ;; esac; do
  n=$((n + 1)); [ $n -lt 200 ] || break
  sleep 0.1
done
`;

const startWatch = () => {
  watching = startCli(state, ['shadow', 'watch', 'web1', '--json']);
  return watching;
};
const history = () => historyIn(state);

describe('shadow commands', needsNetworkRights(), () => {
  before(async () => {
    lab = await createStandingLab(state, {
      cacheDir: CACHE,
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      log: console.log,
    });
    await disconnectVm(await lab.boot());
    await inGuest(CALM);
  });

  after(async () => {
    watching?.kill('SIGKILL');
    lab?.close();
    await runCli(state, ['lab', 'down']);
    rmSync(state, { recursive: true, force: true });
  });

  test('show takes the first version; for people and whole for programs', LIMIT, async () => {
    const { stdout, code } = await runCli(state, ['shadow', 'show', 'web1']);
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^web1, net0: version 1 \(1\.0\.0\.0\), as it is now/);
    assert.match(stdout, /driver +e1000e/);
    assert.match(stdout, /inet\.10\.77\.0\.10\/24 +scope global/);
    const result = await runCli(state, ['shadow', 'show', 'web1', '--json']);
    const [shown] = objects(result);
    writeFileSync(saved, result.stdout);
    assert.equal(shown?.type, 'shadow');
    assert.deepEqual(
      (await history()).map(({ seq, label, by }) => [seq, label, by]),
      [[1, '1.0.0.0', 'show']],
    );
  });

  test('what is asked for wrongly is named', LIMIT, async () => {
    const cases: [string[], string, RegExp][] = [
      [['show', 'web9'], 'UNKNOWN_VM', /web1/],
      [['show', 'web1', '--nic', 'net9'], 'UNKNOWN_DEVICE', /net0/],
      [['show', 'web1', '--at', '9'], 'UNKNOWN_VERSION', /Use one of: 1/],
      [['diff', 'web1', 'no such thing'], 'INPUT_FIELD', /neither a version/],
      [['watch', 'web9'], 'UNKNOWN_VM', /web1/],
    ];
    for (const [args, error, text] of cases) {
      const { code, stderr } = await runCli(state, ['shadow', ...args]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, new RegExp(`\\(${error}\\)`));
      assert.match(stderr, text);
    }
  });

  test('the watch sees a change; history keeps it and diff names it', LIMIT, async () => {
    const watch = startWatch();
    const first = await watch.line(isType('watching'));
    assert.match(first, /"watcher":"started","deaf":\[\],"nics":\[\{"nic":"net0","seq":1/);
    const second = await runCli(state, ['shadow', 'watch', 'web1']);
    assert.deepEqual([second.code, /WATCHED_ALREADY/.test(second.stderr)], [3, true], second.stderr);
    await inGuest('ip link set dev lan0 mtu 1400');
    const changed = Changed.parse(JSON.parse(await watch.line(changedKey('link.mtu'))));
    assert.deepEqual([changed.seq, changed.changes.map(({ key }) => key)], [2, ['link.mtu']]);
    const versions = await history();
    assert.deepEqual(
      versions.map(({ seq, label, by, changes }) => [seq, label, by, changes.length]),
      [
        [1, '1.0.0.0', 'show', 0],
        [2, '1.0.0.1', 'watch', 1],
      ],
    );
    for (const from of ['1', '1.0.0.0', saved]) {
      const { code, stdout } = await runCli(state, ['shadow', 'diff', 'web1', from, 'now', '--exit-code']);
      assert.equal(code, 1);
      assert.match(stdout, /\n~ link\.mtu {2}1500 → 1400\n$/, from);
    }
    const same = await runCli(state, ['shadow', 'diff', 'web1', '--exit-code', '--json']);
    assert.deepEqual([same.code, objects(same)[0]?.equal], [0, true], same.stdout);
    const status = await labStatus(lab);
    assert.equal(status.vms[0]?.state, 'running'); // who watches does not hold it
  });

  test(
    'a watch that is killed is followed by one that finds the watcher and what changed',
    LIMIT,
    async () => {
      assert.ok(watching);
      watching.kill('SIGKILL');
      await watching.ended;
      await inGuest('ip link set dev lan0 mtu 1300');
      const watch = startWatch();
      await watch.line(changedKey('link.mtu'));
      assert.match(await watch.line(isType('watching')), /"watcher":"found"/);
      assert.equal((await inGuest(WATCHERS)).trim(), '2'); // it and its reader
      watch.kill('SIGINT');
      const { code, stdout } = await watch.ended;
      assert.equal(code, 0);
      assert.equal(objects({ stdout }).at(-1)?.type, 'ended');
      assert.equal(
        (await inGuest(`${WATCHERS}; ls -d /run/shadowferry-watch* 2>/dev/null || :`)).trim(),
        '0',
      );
    },
  );

  test('every kind of change that has an event is seen; a name in it is no command', LIMIT, async () => {
    const watch = new WatchHere();
    await watch.next('watching');
    const changes: [script: string, key: string][] = [
      ['ip address add 10.77.0.99/24 dev lan0', 'address.inet.10.77.0.99/24'],
      [
        'ip route add 198.51.100.0/24 via 10.77.0.1 dev lan0',
        'route.inet.main.198.51.100.0/24,via=10.77.0.1',
      ],
      ['tc qdisc replace dev lan0 root pfifo limit 50', 'qdisc.root'],
      ['ethtool -G lan0 rx 512', 'ring.rx'],
      ['ethtool -s lan0 msglvl 3', 'message.level'], // of which only ethtool's own event tells
      ["ip link set dev lan0 alias 'x\n stop\nping 1'", 'link.alias'],
      ['echo 1 >/proc/sys/net/ipv4/conf/lan0/forwarding', 'sysctl.ipv4.conf.forwarding'],
    ];
    for (const [script, key] of changes) {
      const seen = watch.changed(key);
      await inGuest(script);
      await seen;
    }
    await watch.end();
    assert.deepEqual([...new Set(watch.events.map(({ type }) => type))], ['watching', 'changed', 'ended']);
  });

  test('a watcher that dies in the guest is noticed and started again', LIMIT, async () => {
    const watch = new WatchHere();
    await watch.next('watching');
    for (const line of [1, 3]) {
      // the watcher itself, then one that listens for it
      const again = watch.next('watching');
      await inGuest(`kill -KILL $(sed -n '${line}s/ .*//p' /run/shadowferry-watch.pids)`);
      await again;
    }
    const seen = watch.changed('link.mtu');
    await inGuest('ip link set dev lan0 mtu 1450');
    await seen;
    await watch.end();
    const types = watch.events.map(({ type }) => type).filter((type) => type !== 'changed');
    // on a loaded machine an answer may come late, and the watch looks for its watcher once more
    assert.match(
      types.join(' '),
      /^(away )*watching( away)+ watching( away)+ watching( away watching)* ended$/,
    );
    assert.equal((await inGuest(WATCHERS)).trim(), '0');
  });

  test('where the VM goes the watch follows', { timeout: 3 * MIGRATION_MS }, async () => {
    const watch = startWatch();
    await watch.line(isType('watching'));
    const moved = await runCli(state, ['migrate', 'web1', '--to', 'b']);
    assert.equal(moved.code, 0, moved.stdout + moved.stderr);
    await watch.line((line) => isType('watching')(line) && line.includes('"host":"b"'));
    const last = (await history()).at(-1);
    assert.deepEqual([last?.label, last?.by], ['2.0.0.0', 'settle']);
    await watch.line(changedKey('hardware.driver'));
    await inGuest('ip link set dev lan0 mtu 1444');
    // of the second device; what settles by itself after a move may have made a version of its own before
    await watch.line((line) => changedKey('link.mtu')(line) && line.includes('"label":"2.'));
  });

  test('a device that dies is told, and its last state is known', LIMIT, async () => {
    assert.ok(watching);
    const driver = '/sys/bus/pci/drivers/vmxnet3';
    await inGuest(`cd ${driver}; echo 0000:* >unbind`);
    const gone = await watching.line(isType('gone'));
    const versions = await history();
    assert.match(gone, new RegExp(`"last":\\{"nic":"net0","seq":${versions.at(-1)?.seq},.*"late":false`));
    const { code, stdout } = await runCli(state, ['shadow', 'show', 'web1']);
    assert.equal(code, 0);
    assert.match(stdout, /THE LAST THAT IS KNOWN: the guest lacks a network device/);
    assert.match(stdout, /driver +vmxnet3/);
    assert.equal((await history()).length, versions.length);
  });
});
