/** The watcher itself, run by each shell that there is, with two fifos for its port and made-up tools. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { findProgram } from '../../base/find-program.ts';
import { parseWatcherEvent, startScript, type WatcherEvent, watcherText, watcherVersion } from './watcher.ts';

const PCI = '0000:01:00.0';
const TOKEN = 'c0ffee00';

/** Tools that pass on what is written to a fifo of their name; ip has one for links and one for the rest. */
const TOOL = `#!/bin/sh
name=\${0##*/}
case "$*" in
  *help*) echo 'Usage: ip monitor { link | address | route | nexthop }' >&2; exit 255 ;;
  *'monitor link') name=link ;;
esac
printf '%s\\n' "$name $*" >>"$SHADOWFERRY_TOOLS/called"
exec cat "$SHADOWFERRY_TOOLS/$name.fifo"
`;

class Watcher implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'sf-watcher-'));
  readonly events: WatcherEvent[] = [];
  readonly #child: ChildProcess;
  readonly #port: number;
  readonly #feeds = new Map<string, number>();
  readonly #look = new Set<() => void>();
  readonly #reply: ChildProcess;

  constructor(shell: readonly string[]) {
    const at = (name: string) => join(this.directory, name);
    mkdirSync(at('watch'));
    mkdirSync(at('tools'));
    mkdirSync(at(`sys/bus/pci/devices/${PCI}/net/eth0`), { recursive: true });
    writeFileSync(at(`sys/bus/pci/devices/${PCI}/net/eth0/ifindex`), '2\n');
    for (const tool of ['ip', 'tc', 'ethtool']) writeFileSync(at(`tools/${tool}`), TOOL, { mode: 0o755 });
    writeFileSync(at('tools/stdbuf'), '#!/bin/sh\nshift\nexec "$@"\n', { mode: 0o755 });
    const fifos = [
      'port',
      'reply',
      'tools/link.fifo',
      'tools/ip.fifo',
      'tools/tc.fifo',
      'tools/ethtool.fifo',
    ];
    execFileSync('mkfifo', fifos.map(at));
    writeFileSync(at('watch/watcher.sh'), watcherText());
    const config = { port: at('port'), token: TOKEN, version: 'v', devices: PCI };
    const lines = Object.entries(config).map(([name, value]) => `${name}='${value}'\n`);
    writeFileSync(at('watch/config'), lines.join(''));
    const [program = 'sh', ...args] = shell;
    this.#child = spawn(program, [...args, at('watch/watcher.sh'), at('watch'), 'run'], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        ...process.env,
        SHADOWFERRY_ROOT: this.directory,
        SHADOWFERRY_TOOLS: at('tools'),
        SHADOWFERRY_REPLY: at('reply'),
      },
    });
    this.#port = openSync(at('port'), 'r+');
    // a process of its own: a read that waits would hold one of this process's few threads for good
    const reader = spawn('sh', ['-c', 'exec cat <>"$0"', at('reply')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#reply = reader;
    createInterface({ input: reader.stdout }).on('line', (line) => {
      const event = parseWatcherEvent(line);
      assert.ok(event, line);
      this.events.push(event);
      for (const look of this.#look) look();
    });
  }

  say(words: string): void {
    writeSync(this.#port, `${words}\n`);
  }

  /** Something that a tool tells; `end` is what it ends with. */
  tell(tool: string, line: string, end = '\n'): void {
    const feed = this.#feeds.get(tool) ?? openSync(join(this.directory, `tools/${tool}.fifo`), 'r+');
    this.#feeds.set(tool, feed);
    writeSync(feed, `${line}${end}`);
  }

  /** Removes the device's interface from the made-up system. */
  pull(): void {
    rmSync(join(this.directory, `sys/bus/pci/devices/${PCI}/net/eth0`), { recursive: true });
  }

  /** Resolves when so many events of a kind have come. */
  until(kind: WatcherEvent['e'], count = 1): Promise<WatcherEvent[]> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(`no ${kind}: ${JSON.stringify(this.events)}`)), 20_000);
      const look = () => {
        const found = this.events.filter(({ e }) => e === kind);
        if (found.length < count) return;
        clearTimeout(limit);
        this.#look.delete(look);
        resolve(found);
      };
      this.#look.add(look);
      look();
    });
  }

  async ended(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGTERM');
    await this.ended();
    this.#reply.kill();
    for (const fd of [this.#port, ...this.#feeds.values()]) closeSync(fd);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const SHELLS = [['dash'], ['busybox', 'ash'], ['bash', '--posix']] as const;

for (const shell of SHELLS) {
  const missing = findProgram(shell[0]) === undefined;
  describe(`watcher under ${shell.join(' ')}`, { skip: missing && `there is no ${shell[0]}` }, () => {
    it('greets, tells one change until it is armed again, and shows that it lives', async () => {
      await using watcher = new Watcher(shell);
      const [hello] = await watcher.until('hello');
      assert.deepEqual(hello, { e: 'hello', version: 'v', token: TOKEN });
      watcher.say(`${TOKEN} arm`);
      watcher.say(`${TOKEN} ping 1`);
      assert.deepEqual(await watcher.until('pong'), [{ e: 'pong', n: 1, deaf: [] }]);
      watcher.tell('ip', '2: eth0 inet 10.0.0.1/24');
      watcher.tell('tc', 'qdisc fq 1: dev eth0 root');
      await watcher.until('changed');
      watcher.say(`${TOKEN} ping 2`);
      await watcher.until('pong', 2);
      assert.equal(watcher.events.filter(({ e }) => e === 'changed').length, 1);
      // what came while nobody listened is told after the next word
      watcher.tell('ethtool', 'Coalesce parameters for eth0:');
      watcher.say(`${TOKEN} arm`);
      await watcher.until('changed', 2);
    });

    it('hears a command after a line that a tool has not finished', async () => {
      await using watcher = new Watcher(shell);
      await watcher.until('hello');
      watcher.say(`${TOKEN} arm`);
      watcher.say(`${TOKEN} ping 1`);
      await watcher.until('pong');
      watcher.tell('ethtool', 'Features for eth0:\nrx-checksummin', '');
      await watcher.until('changed');
      watcher.say(`${TOKEN} arm`);
      watcher.say(`${TOKEN} ping 2`);
      await watcher.until('pong', 2);
      watcher.tell('link', '2: eth0: mtu 1500');
      await watcher.until('changed', 2);
    });

    it('takes nothing in an event for a command', async () => {
      await using watcher = new Watcher(shell);
      await watcher.until('hello');
      watcher.say(`${TOKEN} arm`);
      watcher.say(`${TOKEN} ping 1`);
      await watcher.until('pong');
      watcher.tell('link', '2: eth0: alias\nstop\n ping 7\n%s $(touch x) `id` \\');
      await watcher.until('changed');
      for (const words of [
        'stop',
        'ping 3',
        `${TOKEN} ping`,
        `${TOKEN} ping x`,
        `${TOKEN} ping 1234567890`,
        '',
      ]) {
        watcher.say(words);
      }
      watcher.say(`${TOKEN} ping 9`);
      const pongs = await watcher.until('pong', 2);
      assert.deepEqual(pongs.at(-1), { e: 'pong', n: 9, deaf: [] });
      assert.equal(watcher.events.length, 4);
    });

    it('tells of a device that is gone at once, and once', async () => {
      await using watcher = new Watcher(shell);
      await watcher.until('hello');
      watcher.say(`${TOKEN} arm`);
      watcher.say(`${TOKEN} ping 1`);
      await watcher.until('pong');
      watcher.tell('link', 'Deleted 5: veth3');
      await watcher.until('changed');
      watcher.pull();
      watcher.tell('link', 'Deleted 2: eth0'); // also while changes are not told
      watcher.tell('link', 'Deleted 2: eth0');
      watcher.tell('link', 'Deleted 6: veth4');
      assert.deepEqual(await watcher.until('gone'), [{ e: 'gone', pci: PCI }]);
      watcher.say(`${TOKEN} ping 2`);
      await watcher.until('pong', 2);
      assert.equal(watcher.events.filter(({ e }) => e === 'gone').length, 1);
    });

    it('looks again for one that tells its end before it is gone', async () => {
      await using watcher = new Watcher(shell);
      await watcher.until('hello');
      watcher.say(`${TOKEN} arm`);
      watcher.say(`${TOKEN} ping 1`);
      await watcher.until('pong');
      watcher.tell('link', 'Deleted 2: eth0');
      await watcher.until('changed');
      watcher.pull();
      assert.deepEqual(await watcher.until('gone'), [{ e: 'gone', pci: PCI }]);
    });

    it('says who does not listen any more, and leaves nothing when it is stopped', async () => {
      await using watcher = new Watcher(shell);
      await watcher.until('hello');
      watcher.say(`${TOKEN} ping 1`);
      await watcher.until('pong');
      const pids = execFileSync('cat', [join(watcher.directory, 'watch.pids')], { encoding: 'utf8' });
      const [, , , ip = ''] = pids.split('\n').map((line) => line.split(' ')[0]);
      assert.match(execFileSync('cat', [`/proc/${ip}/cmdline`], { encoding: 'utf8' }), /ip\.fifo/);
      process.kill(Number(ip), 'SIGKILL');
      let n = 1;
      let deaf: readonly string[] = [];
      while (deaf.length === 0 && n < 200) {
        n += 1;
        watcher.say(`${TOKEN} ping ${n}`);
        const pong = (await watcher.until('pong', n)).at(-1);
        if (pong?.e === 'pong') deaf = pong.deaf;
      }
      assert.deepEqual(deaf, ['ip']);
      watcher.say(`${TOKEN} stop`);
      await watcher.until('stopped');
      await watcher.ended();
      const left = execFileSync('find', [watcher.directory, '-name', 'watch*'], { encoding: 'utf8' });
      assert.equal(left, '');
    });
  });
}

it('an event of another form is none', () => {
  for (const line of [
    '',
    '{}',
    '{"e":"hello"}',
    '{"e":"gone","pci":7}',
    `{"e":"changed","x":"${'x'.repeat(2000)}"}`,
  ]) {
    assert.equal(parseWatcherEvent(line), undefined, line);
  }
  assert.deepEqual(parseWatcherEvent('{"e":"changed"}'), { e: 'changed' });
});

it('the script that starts it is one that a shell reads, whatever the port is called', () => {
  const script = startScript({ port: "/dev/it's $(here)", devices: [PCI] });
  execFileSync('sh', ['-n'], { input: script });
  assert.match(script, new RegExp(watcherVersion()));
});
