import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { againScript } from './again.ts';
import type { Operation } from './plan-model.ts';

const operation = (argv: string[], tool: Operation['tool'] = 'ip'): Operation => ({
  id: 1,
  stage: 'traffic',
  tool,
  argv,
  attributes: [],
});
const plan = (attach: Operation[]) => ({ sets: { adopt: [], leave: [], attach, giveback: [] } });

/** Runs the script with an `ip` that writes down how it was called and what it was given. */
function calls(script: string): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'again-'));
  try {
    const log = join(directory, 'log');
    const ip = join(directory, 'ip');
    writeFileSync(log, '');
    writeFileSync(ip, `#!/bin/sh\necho "$*" >>${log}\ncase $* in *-batch*) sed 's/^/  /' >>${log} ;; esac\n`);
    chmodSync(ip, 0o755);
    execFileSync('sh', ['-s'], { input: script.replace('/usr/sbin /sbin', `${directory} /usr/sbin /sbin`) });
    return readFileSync(log, 'utf8').trimEnd().split('\n');
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('routes and rules are done again, in few processes, rules last; nothing else is', () => {
  const script = againScript(
    plan([
      operation(['-6', 'rule', 'add', 'priority', '7', 'lookup', '77']),
      operation(['rule', 'add', 'priority', '5', 'from', '10.0.0.1', 'lookup', '77']),
      operation(['link', 'set', 'dev', 'eth0', 'down']),
      operation(['address', 'add', '10.0.0.1/24', 'dev', 'eth0']),
      operation(['route', 'replace', '0.0.0.0/0', 'via', '10.0.0.254', 'dev', 'eth0', 'table', '77']),
      operation(['qdisc', 'add'], 'tc'),
      operation(['route', 'replace', '10.9.0.0/16', 'dev', "e'th $x"]),
    ]),
  );
  assert.deepEqual(calls(script), [
    '-force -batch -',
    '  route replace 0.0.0.0/0 via 10.0.0.254 dev eth0 table 77',
    '  rule add priority 5 from 10.0.0.1 lookup 77',
    '-6 -force -batch -',
    '  rule add priority 7 lookup 77',
    "route replace 10.9.0.0/16 dev e'th $x",
  ]);
});

test('without routes and rules there is nothing to run', () => {
  assert.equal(againScript(plan([operation(['link', 'set', 'dev', 'eth0', 'up'])])), '');
});
