/** The capture script itself, run under several shells in a network namespace of its own. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { exec } from '../../base/exec.ts';
import { shellCommand } from '../../base/shell-quote.ts';
import { attributesOf } from './attributes.ts';
import { captureArgs, captureScript, parseCapture } from './capture.ts';
import type { DeviceIdentity, NetShadow } from './model.ts';
import { summary, verify } from './verify.ts';

const identity: DeviceIdentity = { mac: '52:54:00:00:00:01', pciPath: '0000:01:00.0' };
const SHELLS = [['dash'], ['busybox', 'ash'], ['bash']];

/** A namespace with its own sysfs; root or a user namespace is needed. */
const NAMESPACE: [string, ...string[]] = ['unshare', '--map-root-user', '--net', '--mount', 'sh', '-s'];
const SYSFS = 'mount -t sysfs sysfs /sys\n';

async function inNamespace(script: string) {
  const signal = deadline('the script in a namespace', 20_000);
  return exec(NAMESPACE, { input: SYSFS + script, allowFailure: true, signal });
}

async function reasonToSkip(): Promise<string | false> {
  try {
    const { code, stderr } = await inNamespace('ip link add probe type veth && ethtool -k lo >/dev/null\n');
    return code === 0 ? false : `no network namespace to try it in: ${stderr.trim().slice(0, 100)}`;
  } catch (error) {
    return `no network namespace to try it in: ${String(error).slice(0, 100)}`;
  }
}

const skip = await reasonToSkip();

/** Routes in ip's own words; each must come back from what the capture makes of it. */
const ROUTES = [
  '10.1.0.0/16 via 10.77.0.1 dev DEV proto static src 10.77.0.10 metric 100 realms 5 mtu lock 1400 rtt 100ms rttvar 1.5s ssthresh 10 cwnd lock 10 advmss 1300 reordering 5 hoplimit 55 initcwnd 20 features ecn rto_min 200ms initrwnd 22 quickack 1 congctl cubic fastopen_no_cookie 1',
  '10.2.0.0/16 via 192.168.1.1 dev DEV onlink',
  '10.3.0.0/16 via inet6 fe80::1 dev DEV',
  '10.4.0.0/16 table 100 nexthop via 10.77.0.1 dev DEV weight 2 nexthop via 10.77.0.2 dev DEV weight 7',
  '10.5.0.0/16 tos 0x10 via 10.77.0.1 table 100',
  '10.6.0.0/16 dev DEV scope global',
  'local 10.7.0.0/16 dev DEV table local',
  'multicast 239.1.0.0/16 dev DEV',
  'fd90::/64 via fd77::1 dev DEV metric 77 mtu lock 1350',
  'fd91::/64 nexthop via fd77::1 dev DEV weight 3 nexthop via fd77::2 dev DEV',
  'fd92::/64 dev DEV pref high metric 5',
  'default via fd77::1 dev DEV',
];

describe('capture.sh', { skip }, () => {
  let dir = '';
  let script = '';
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'shadowferry-capture-'));
    script = join(dir, 'capture.sh');
    await writeFile(script, captureScript());
  });
  after(() => rm(dir, { recursive: true, force: true }));

  /** A device called `name`, configured by `setup`, captured by `shell`; then again after `between`. */
  async function capture(
    shell: string[],
    name: string,
    setup: string,
    between?: (shadow: NetShadow) => string,
  ) {
    const pci = join(dir, `pci-${Math.random().toString(36).slice(2)}`);
    const device = join(pci, identity.pciPath);
    await mkdir(join(device, 'net'), { recursive: true });
    await symlink(`/sys/class/net/${name}`, join(device, 'net', name));
    await writeFile(join(device, 'vendor'), '0x8086\n');
    await writeFile(join(device, 'device'), '0x10d3\n');
    const own = [`SHADOWFERRY_PCI=${pci}`, `SHADOWFERRY_SPACES=${pci}`];
    const run = `${shellCommand(['env', ...own, ...shell, script, ...captureArgs(identity)])} '' "\${KNOWN-}" || echo "exit $?"\n`;
    const link = [
      shellCommand([
        'ip',
        'link',
        'add',
        'name',
        name,
        'address',
        identity.mac,
        'type',
        'veth',
        'peer',
        'name',
        'peer',
      ]),
      shellCommand(['ip', 'link', 'set', 'dev', name, 'up']),
      'ip link set peer up',
    ];
    const prepare = [
      `SPACES=${shellCommand([pci])}`,
      ...link,
      setup.replaceAll('DEV', shellCommand([name])),
      '',
    ].join('\n');
    const first = await inNamespace(prepare + run);
    assert.equal(first.stderr, '');
    const shadow = parseCapture(first.stdout, identity);
    if (!between) return { shadow, text: first.stdout };
    const second = await inNamespace(`${[...link, between(shadow)].join('\n')}\n${run}`);
    assert.equal(second.stderr, '');
    return { shadow, text: first.stdout, again: parseCapture(second.stdout, identity) };
  }

  const setup = [
    'ip addr add 10.77.0.10/24 dev DEV',
    'ip addr add fd77::10/64 dev DEV nodad',
    'ip neigh add 10.77.0.9 lladdr 52:54:00:00:00:09 dev DEV nud permanent',
    'tc qdisc replace dev DEV root handle 5: pfifo limit 333',
    'ip link set dev DEV mtu 1400',
  ].join('\n');

  for (const shell of SHELLS) {
    const [program = ''] = shell;
    it(`says everything under ${shell.join(' ')}`, async (t) => {
      const there = await exec(['sh', '-c', `command -v ${program}`], { allowFailure: true });
      if (there.code !== 0) return t.skip(`${program} is not installed`);
      for (const name of ['eth0', '-d"\'$*é\\x', '.eth0', '..x', 'via']) {
        const { shadow } = await capture(shell, name, setup);
        assert.equal(shadow.hardware?.name, name);
        assert.equal(shadow.hardware?.pciId, '8086:10d3');
        assert.equal(shadow.link.mtu, 1400);
        assert.equal(shadow.qdiscs[0]?.args.join(' '), 'limit 333');
        assert.ok(shadow.addresses.some(({ local }) => local === '10.77.0.10'));
        assert.ok(shadow.neighbours.some(({ address }) => address === '10.77.0.9'));
        assert.ok(shadow.sysctls.length > 80, 'sysctls');
        assert.ok((shadow.driver?.features.length ?? 0) > 20, 'features');
      }
    });
  }

  it('sees what stands on the device in another namespace, once', async (t) => {
    const macvlan = 'ip link add name probe type veth && ip link add link probe name over type macvlan\n';
    if ((await inNamespace(macvlan)).code !== 0) return t.skip('this kernel has no macvlan');
    for (const shell of SHELLS) {
      if ((await exec(['sh', '-c', `command -v ${shell[0]}`], { allowFailure: true })).code !== 0) continue;
      const { shadow } = await capture(
        shell,
        'eth0',
        `unshare --net sleep 20 >/dev/null 2>&1 &
until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
ip link add link DEV name mv0 netns $! type macvlan
for place in "$SPACES/run/netns/blue" "$SPACES/proc/7/ns/net"; do
  mkdir -p "\${place%/*}"
  ln -s "/proc/$!/ns/net" "$place"
done`,
      );
      assert.deepEqual(
        shadow.dependents,
        [{ kind: 'upper', on: 'eth0', what: 'macvlan mv0 in blue' }],
        shell[0],
      );
      assert.deepEqual(shadow.unknown, []);
    }
  });

  it('says the same of the same configuration', async () => {
    const { text } = await capture(['dash'], 'eth0', setup);
    const shadow = parseCapture(text, identity);
    const { shadow: other } = await capture(['dash'], 'eth0', setup);
    assert.deepEqual(attributesOf(other), attributesOf(shadow));
  });

  it('does not ask again for what is known of this interface in this boot', async () => {
    const sections = (text: string) => [...text.matchAll(/^@@ (\S+)$/gm)].map(([, name]) => name);
    const knowing = (index: string) =>
      `KNOWN="$(cat /proc/sys/kernel/random/boot_id) ${index} ethtool-T ethtool-eee"`;
    const all = sections((await capture(['dash'], 'eth0', setup)).text);
    for (const shell of SHELLS) {
      const { text } = await capture(shell, 'eth0', knowing('$(cat /sys/class/net/DEV/ifindex)'));
      const left = all.filter((name) => !sections(text).includes(name));
      assert.deepEqual(
        left,
        ['class', 'filter-places', 'filter', 'ethtool-T', 'ethtool-eee'],
        shell.join(' '),
      );
    }
    const other = sections((await capture(['dash'], 'eth0', `${setup}\n${knowing('9999')}`)).text);
    assert.deepEqual(other, all);
  });

  for (const name of ['eth0', 'via', 'metric', 'tos', 'nexthop', 'dev', '.x'])
    it(`reads routes of ${name} so that they come back from their arguments`, async () => {
      const addresses = 'ip addr add 10.77.0.10/24 dev DEV\nip addr add fd77::10/64 dev DEV nodad\n';
      const add = (route: string) => `ip ${/^(fd|default)/.test(route) ? '-6 ' : ''}route add ${route}`;
      const { shadow, again } = await capture(
        ['dash'],
        name,
        addresses + ROUTES.map(add).join('\n'),
        (seen) =>
          [
            addresses.replaceAll('DEV', name),
            ...seen.routes
              .filter(({ automatic }) => !automatic)
              .map(({ family, type, destination, args }) =>
                shellCommand([
                  'ip',
                  family === 'inet6' ? '-6' : '-4',
                  'route',
                  'add',
                  type,
                  destination,
                  ...args,
                ]),
              ),
          ].join('\n'),
      );
      assert.equal(shadow.routes.filter(({ automatic }) => !automatic).length, ROUTES.length);
      // a word of ip's language as a name makes no other keys
      assert.ok(attributesOf(shadow).some(({ key }) => key === 'route.inet.main.10.6.0.0/16'));
      assert.ok(again);
      const changed = verify(shadow, again).filter(({ fate }) => fate !== 'restored');
      assert.deepEqual(changed, [], summary(verify(shadow, again)).text);
    });

  it('says that there is no such device', async () => {
    const run = shellCommand(['sh', script, ...captureArgs(identity)]);
    const { stdout } = await inNamespace(`${run}\n`);
    assert.throws(() => parseCapture(stdout, identity), { code: 'GUEST_LACKS' });
  });
});
