/**
 * Takes the golden captures of Debian's releases again: `node test/lab/goldens/take.ts [bookworm|trixie]…`. Boots each as
 * a guest with four NICs, configures them (configure.sh), and writes what capture.sh prints of each to
 * src/shadow/net/golden. Look at the difference before you commit it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deadline } from '../../../src/base/deadline.ts';
import { distroGuest } from '../../../src/lab/distro-guest.ts';
import { ensureDistroImage } from '../../../src/lab/image/distro/image.ts';
import { SUITES, type Suite } from '../../../src/lab/image/distro/recipe.ts';
import { Lab } from '../../../src/lab/lab.ts';
import type { RunningVm } from '../../../src/migration/vm.ts';
import { captureArgs, captureScript, parseCapture } from '../../../src/shadow/net/capture.ts';
import { CACHE } from '../migrating.ts';

const BUILD_MS = 400_000;
const MODELS = ['e1000e', 'vmxnet3', 'virtio-net-pci', 'rtl8139'];
/** What configure.sh makes, one after the other. */
const PARTS = ['bond', 'uppers', 'port', 'odd'];
const RELEASE: Record<Suite, string> = { bookworm: 'debian12', trixie: 'debian13' };
const GOLDEN = join(import.meta.dirname, '../../../src/shadow/net/golden');
const CONFIGURE = join(import.meta.dirname, 'configure.sh');

async function boot(lab: Lab, suite: Suite): Promise<RunningVm> {
  const signal = deadline('building the image', BUILD_MS);
  const image = await ensureDistroImage(suite, { cacheDir: CACHE, log: console.log, signal });
  // a manager that is there, and has nothing to do with these NICs
  const ipv4 = { address: '10.77.0.10/24', gateway: '10.77.0.1' };
  const guest = await distroGuest(lab, image, { manager: 'networkd', ipv4, interface: 'none' });
  const more = MODELS.slice(1).map((_, n) => ({ device: `nic${n + 1}`, standby: 'none' as const }));
  return lab.boot({ guest, memoryMiB: 512, standby: 'virtio', nics: more });
}

/** Many processes, and each takes its time under an emulator on a busy machine. */
async function inGuest(vm: RunningVm, input: string, args: readonly string[] = []): Promise<string> {
  const options = { input, check: true, signal: deadline('a script in the guest', 300_000) };
  return (await vm.agent.exec(['/bin/sh', '-s', '--', ...args], options)).stdout;
}

async function take(suite: Suite): Promise<void> {
  await using lab = await Lab.create({ cacheDir: CACHE, devices: { a: MODELS, b: [] }, log: console.log });
  const vm = await boot(lab, suite);
  for (const part of PARTS) {
    const said = await inGuest(vm, readFileSync(CONFIGURE, 'utf8'), [part]);
    for (const line of said.trim().split('\n')) {
      const [, name, mac, pciPath] = /^nic (\S+) (\S+) (\S+)$/.exec(line) ?? [];
      if (name === undefined || mac === undefined || pciPath === undefined) {
        console.log(`${RELEASE[suite]}: ${line}`);
        continue;
      }
      const text = await inGuest(vm, captureScript(), captureArgs({ mac, pciPath }));
      const file = `${RELEASE[suite]}-${name}.txt`;
      writeFileSync(join(GOLDEN, file), text);
      const { unknown } = parseCapture(text, { mac, pciPath });
      console.log(`${file}: ${mac} ${pciPath}, ${text.length} bytes, unknown ${JSON.stringify(unknown)}`);
    }
  }
}

const asked = process.argv.slice(2);
const wrong = asked.find((word) => !SUITES.some((suite) => suite === word));
if (wrong !== undefined) {
  console.error(`what is ${wrong}? There are ${SUITES.join(', ')}`);
  process.exitCode = 2;
} else {
  for (const suite of SUITES) if (asked.length === 0 || asked.includes(suite)) await take(suite);
}
