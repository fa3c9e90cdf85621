import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { TOOLS } from '../../src/host/doctor/tools.ts';
import { sameAsInstalled } from './dependencies.mjs';
import { chooseNode, newEnough } from './node.mjs';
import { ensurePrograms, isDebianKin, missingPrograms, PROGRAMS, pathWithSystemDirs } from './programs.mjs';

const here = import.meta.dirname;

/** Ends a process and those that it started. @param {number | undefined} pid */
function endWithChildren(pid) {
  if (pid === undefined) return;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  for (const one of [pid, ...children.map(Number)]) process.kill(one, 'SIGKILL');
}

/** @param {(dir: string) => unknown} use */
async function inScratch(use) {
  const dir = mkdtempSync(join(tmpdir(), 'shadowferry-bootstrap-'));
  try {
    await use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

describe('npm packages', () => {
  const machine = { platform: 'linux', arch: 'x64' };
  const lock = {
    packages: {
      '': { version: '1' },
      'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
      'node_modules/arm': { version: '2.0.0', integrity: 'sha512-b', optional: true, cpu: 'arm64' },
    },
  };
  const a = lock.packages['node_modules/a'];

  it('are in step when all that fit this machine are there', () => {
    assert.equal(sameAsInstalled(lock, { packages: { 'node_modules/a': a } }, machine), true);
  });

  it('are not in step when one is missing, is another version, or has other content', () => {
    assert.equal(sameAsInstalled(lock, { packages: {} }, machine), false);
    for (const other of [
      { ...a, version: '1.0.1' },
      { ...a, integrity: 'sha512-x' },
    ]) {
      assert.equal(sameAsInstalled(lock, { packages: { 'node_modules/a': other } }, machine), false);
    }
  });

  it('are not in step when an optional one for this machine is missing', () => {
    const arm = { platform: 'linux', arch: 'arm64' };
    assert.equal(sameAsInstalled(lock, { packages: { 'node_modules/a': a } }, arm), false);
  });
});

describe('the Node that is used', () => {
  it('is the packaged one when it runs', () => {
    assert.equal(
      chooseNode('/x', () => 'v24.21.0'),
      '/x/node_modules/.bin/node',
    );
  });

  it('is otherwise the running one when that is new enough, else there is an error that says what to do', () => {
    if (newEnough(process.version))
      assert.equal(
        chooseNode('/x', () => undefined),
        process.execPath,
      );
    else assert.throws(() => chooseNode('/x', () => undefined), { fix: /Install Node 24/ });
  });

  it('must be 24 or newer', () => {
    assert.deepEqual(['v20.20.2', 'v23.9.0', 'v24.0.0', 'v100.1.0', 'rubbish'].map(newEnough), [
      false,
      false,
      true,
      true,
      false,
    ]);
  });
});

describe('programs', () => {
  /**
   * @param {{has?: string[], debian?: boolean, root?: string[] | undefined, lists?: boolean, answers?: boolean[]}} facts
   */
  function fakeSystem({ has = [], debian = true, root = [], lists = true, answers = [] }) {
    const present = new Set(has);
    /** @type {string[]} */
    const ran = [];
    /** @type {string[]} */
    const said = [];
    return {
      ran,
      said,
      say: (/** @type {string} */ line) => said.push(line),
      has: (/** @type {string} */ name) => present.has(name),
      debian: () => debian,
      asRoot: () => root,
      listsMissing: () => !lists,
      run(/** @type {string[]} */ argv) {
        ran.push(argv.join(' '));
        const succeeds = answers.shift() ?? true;
        if (succeeds && argv.includes('install')) {
          for (const { name, package: from } of PROGRAMS) if (argv.includes(from)) present.add(name);
        }
        return succeeds;
      },
    };
  }
  const all = PROGRAMS.map((program) => program.name);
  const but = (/** @type {string[]} */ ...names) => all.filter((name) => !names.includes(name));
  const mayInstall = { mayInstall: true };

  it('that are all there cost nothing', () => {
    const system = fakeSystem({ has: all });
    ensurePrograms('demo', mayInstall, system);
    assert.deepEqual(system.ran, []);
  });

  it('that are missing are installed by package, once each, without recommended ones', () => {
    const system = fakeSystem({ has: but('ip', 'tc', 'qemu-system-x86_64') });
    ensurePrograms('demo', mayInstall, system);
    assert.equal(system.ran.length, 1);
    assert.match(
      String(system.said),
      /^installing qemu-system-x86, iproute2 with apt, for .*runs the virtual machines/,
    );
    assert.match(
      String(system.ran[0]),
      /^env DEBIAN_FRONTEND=noninteractive apt-get .* install -y --no-install-recommends qemu-system-x86 iproute2$/,
    );
    assert.deepEqual(missingPrograms('demo', system), []);
  });

  it('are installed with sudo by an ordinary user who may', () => {
    const system = fakeSystem({ has: but('ip'), root: ['sudo', '-n'] });
    ensurePrograms('demo', mayInstall, system);
    assert.match(String(system.ran[0]), /^sudo -n env /);
  });

  it("get apt's lists first when there are none, and again when an installation fails", () => {
    const verbs = (/** @type {string[]} */ ran) => ran.map((line) => /\b(update|install)\b/.exec(line)?.[0]);
    const fresh = fakeSystem({ has: but('ip'), lists: false });
    ensurePrograms('demo', mayInstall, fresh);
    assert.deepEqual(verbs(fresh.ran), ['update', 'install']);
    const stale = fakeSystem({ has: but('ip'), answers: [false] });
    ensurePrograms('demo', mayInstall, stale);
    assert.deepEqual(verbs(stale.ran), ['install', 'update', 'install']);
  });

  it('that apt cannot install are an error', () => {
    const system = fakeSystem({ has: but('ip'), answers: [false, false] });
    assert.throws(() => ensurePrograms('demo', mayInstall, system), {
      message: 'apt could not install iproute2',
      exitCode: 4,
    });
  });

  it('are only named, with the command, when the user has no rights or wants no installation', () => {
    const expected = {
      message: 'missing on this machine: ip (makes the lab networks)',
      fix: 'Run: sudo apt-get install -y --no-install-recommends iproute2',
      exitCode: 4,
    };
    for (const [facts, options] of /** @type {const} */ ([
      [{ has: but('ip'), root: undefined }, mayInstall],
      [{ has: but('ip') }, { mayInstall: false }],
    ])) {
      const system = fakeSystem(facts);
      if ('root' in facts) system.asRoot = () => undefined;
      assert.throws(() => ensurePrograms('demo', options, system), expected);
      assert.deepEqual(system.ran, []);
    }
  });

  it('are only named on other distributions', () => {
    const system = fakeSystem({ has: but('ip'), debian: false });
    assert.throws(() => ensurePrograms('demo', mayInstall, system), { fix: /this system's package manager/ });
    assert.deepEqual(system.ran, []);
  });

  it('that a task can do without do not stop it', () => {
    const system = fakeSystem({ has: but('nft') });
    ensurePrograms('demo', { mayInstall: false }, system);
    assert.match(String(system.said), /^not here: nft .*nftables/);
  });

  it('are not asked for by tasks that do not need them', () => {
    const none = fakeSystem({});
    assert.deepEqual(missingPrograms('cli', none), []);
    assert.deepEqual(
      missingPrograms('lint', none).map((program) => program.name),
      ['shellcheck'],
    );
  });

  it('are looked for where an ordinary Debian user does not look', () => {
    assert.equal(pathWithSystemDirs('/usr/bin:/bin'), '/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin');
    assert.equal(pathWithSystemDirs(pathWithSystemDirs('')), pathWithSystemDirs(''));
  });

  it('of the demo are those that the doctor looks for', () => {
    const demo = PROGRAMS.filter(({ tasks }) => tasks.includes('demo')).map(
      ({ tasks: _, ...program }) => program,
    );
    const essential = ['dpkg-deb']; // every Debian has it, so there is nothing to install
    assert.deepEqual(
      demo,
      TOOLS.filter(({ name }) => !essential.includes(name)),
    );
  });

  it('come from apt on Debian and its kin', () => {
    assert.equal(isDebianKin('PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n'), true);
    assert.equal(isDebianKin('ID=linuxmint\nID_LIKE="ubuntu debian"\n'), true);
    assert.equal(isDebianKin('ID="fedora"\nID_LIKE="rhel"\n'), false);
    assert.equal(isDebianKin('NAME=debian\n'), false);
  });
});

describe('the lock', () => {
  it('lets one process in at a time, and the next in when the holder is killed', async () => {
    const code = `
      const { withLock } = await import(${JSON.stringify(pathToFileURL(join(here, 'lock.mjs')).href)});
      await withLock(process.argv[1], () => console.log('waiting'), () => {
        console.log('inside');
        return new Promise((resolve) => process.stdin.once('data', resolve));
      });
      console.log('outside');
      process.exit();`;
    const name = `test-${process.pid}-${performance.now()}`;
    const start = () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', code, name]);
      let text = '';
      child.stdout.on('data', (chunk) => {
        text += chunk;
        child.emit('said');
      });
      const says = async (/** @type {string} */ word) => {
        while (!text.includes(word)) await once(child, 'said', { signal: AbortSignal.timeout(20_000) });
      };
      return { child, says, said: () => text };
    };
    /** @type {ReturnType<typeof start>[]} */
    const all = [];
    const startOne = () => {
      const one = start();
      all.push(one);
      return one;
    };
    try {
      const holder = startOne();
      await holder.says('inside');
      const second = startOne();
      await second.says('waiting');
      assert.doesNotMatch(second.said(), /inside/);
      holder.child.kill('SIGKILL');
      await second.says('inside');
      const third = startOne();
      await third.says('waiting');
      second.child.stdin.write('go\n');
      await third.says('inside');
      third.child.stdin.write('go\n');
      await third.says('outside');
    } finally {
      for (const { child } of all) child.kill('SIGKILL');
    }
  });
});

describe('run.mjs', () => {
  /**
   * A checkout of its own with a task that tells what it was given, and npm packages that need no npm.
   * @param {string} dir
   */
  function makeCheckout(dir) {
    cpSync(join(dirname(here), 'run.mjs'), join(dir, 'scripts/run.mjs'));
    cpSync(here, join(dir, 'scripts/bootstrap'), { recursive: true });
    mkdirSync(join(dir, 'src'));
    mkdirSync(join(dir, 'node_modules/.bin'), { recursive: true });
    writeFileSync(join(dir, 'package-lock.json'), JSON.stringify({ packages: { '': {} } }));
    writeFileSync(join(dir, 'node_modules/.package-lock.json'), JSON.stringify({ packages: {} }));
    symlinkSync(process.execPath, join(dir, 'node_modules/.bin/node'));
  }
  /** @param {string} dir @param {string[]} args @param {NodeJS.ProcessEnv} [env] */
  function run(dir, args, env = {}) {
    return spawnSync(process.execPath, [join(dir, 'scripts/run.mjs'), ...args], {
      encoding: 'utf8',
      env: { ...process.env, SHADOWFERRY_NO_INSTALL: '', ...env },
    });
  }

  it("runs the task with the user's arguments, leaves stdout to it and ends with its exit code", () =>
    inScratch((dir) => {
      makeCheckout(dir);
      writeFileSync(
        join(dir, 'src/cli.ts'),
        'const n: number = 7; console.log(JSON.stringify(process.argv.slice(2))); process.exit(n);',
      );
      const { status, stdout, stderr } = run(dir, ['cli', 'migrate', '--json', 'a b', '--', '']);
      assert.equal(stderr, '');
      assert.deepEqual(JSON.parse(stdout), ['migrate', '--json', 'a b', '--', '']);
      assert.equal(status, 7);
    }));

  it('names the tasks when there is no such task', () =>
    inScratch((dir) => {
      makeCheckout(dir);
      const { status, stdout, stderr } = run(dir, ['constructor']);
      assert.equal(stdout, '');
      assert.match(stderr, /no task "constructor"\n {2}Use one of: setup, demo/);
      assert.equal(status, 2);
    }));

  it('installs nothing when it is told so, and says all that is missing', () =>
    inScratch((dir) => {
      makeCheckout(dir);
      rmSync(join(dir, 'node_modules'), { recursive: true });
      const { status, stderr } = run(dir, ['cli'], { SHADOWFERRY_NO_INSTALL: '1' });
      assert.match(stderr, /npm packages are not those of package-lock.json\n {2}Run "npm ci" in /);
      assert.equal(status, 4);
    }));

  it('runs npm ci when the packages are missing or package-lock.json changed, and not again', () =>
    inScratch((dir) => {
      makeCheckout(dir);
      writeFileSync(join(dir, 'src/cli.ts'), "console.log('task')");
      rmSync(join(dir, 'node_modules'), { recursive: true });
      // An npm that only makes what run.mjs needs, and counts.
      const npm = join(dir, 'npm-cli.js');
      writeFileSync(
        npm,
        `const fs = require('node:fs');
         fs.appendFileSync('calls', process.argv.slice(2).join(' ') + '\\n');
         fs.mkdirSync('node_modules/.bin', { recursive: true });
         fs.rmSync('node_modules/.bin/node', { force: true });
         fs.symlinkSync(process.execPath, 'node_modules/.bin/node');
         console.log('npm talks on stdout');`,
      );
      const calls = () => readFileSync(join(dir, 'calls'), 'utf8').trim().split('\n');
      const first = run(dir, ['cli'], { npm_execpath: npm });
      assert.equal(first.stdout, 'task\n');
      assert.match(first.stderr, /installing the npm packages/);
      assert.match(first.stderr, /npm talks on stdout/);
      assert.match(String(calls()[0]), /^ci .*--ignore-scripts/);
      run(dir, ['cli'], { npm_execpath: npm });
      assert.equal(calls().length, 1);
      writeFileSync(join(dir, 'package-lock.json'), JSON.stringify({ packages: { '': { version: '2' } } }));
      run(dir, ['cli'], { npm_execpath: npm });
      assert.equal(calls().length, 2);
    }));

  it('passes SIGTERM on, and ends as the task ends', () =>
    inScratch(async (dir) => {
      makeCheckout(dir);
      writeFileSync(
        join(dir, 'src/cli.ts'),
        "process.on('SIGTERM', () => { console.log('bye'); process.exit(9); }); setInterval(() => {}, 1e6); console.log('up');",
      );
      const child = spawn(process.execPath, [join(dir, 'scripts/run.mjs'), 'cli']);
      child.stdout.setEncoding('utf8');
      const signal = AbortSignal.timeout(20_000);
      try {
        const [up] = await once(child.stdout, 'data', { signal });
        assert.equal(up, 'up\n');
        const said = once(child.stdout, 'data', { signal });
        const ended = once(child, 'close', { signal });
        child.kill('SIGTERM');
        assert.deepEqual(await said, ['bye\n']);
        assert.equal((await ended)[0], 9);
      } finally {
        if (child.exitCode === null) endWithChildren(child.pid);
      }
    }));

  it('ends with 128 + n when signal n ended the task', () =>
    inScratch((dir) => {
      makeCheckout(dir);
      writeFileSync(
        join(dir, 'src/cli.ts'),
        "process.kill(process.pid, 'SIGKILL'); setInterval(() => {}, 1e6);",
      );
      assert.equal(run(dir, ['cli']).status, 137);
    }));
});
