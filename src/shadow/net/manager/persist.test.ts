/** What is written for a guest's next boot: the texts, and `persist.sh` under several shells in a made-up tree. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { deadline } from '../../../base/deadline.ts';
import { exec } from '../../../base/exec.ts';
import { findProgram } from '../../../base/find-program.ts';
import type { NetShadow } from '../model.ts';
import { LINK, STANDBY, shadow } from '../plan.test-data.ts';
import { factsCall, parsePersistFacts, persistScript, removeCall, writeCalls } from './persist.ts';
import { persistFiles } from './persist-files.ts';
import type { PersistFacts, Persisting } from './persist-model.ts';

const SHELLS = [['dash'], ['busybox', 'ash'], ['bash']] as const;
const TAG = 'net0';
const MAC = '52:54:00:00:00:01';

const NOTHING: PersistFacts = {
  ...{ udev: true, systemd: true, directMac: undefined, standbyMac: undefined },
  ...{ network: undefined, member: undefined, link: undefined, profile: undefined },
  ...{ networkManager: false, ifupdown: false, interfaces: [] },
};

/** An interface as sysfs says it, with the bond's options. */
function bond(name: string, standby: boolean): NetShadow {
  const bare = shadow({ link: { ...LINK, name, mac: MAC } });
  const hardware = {
    ...(bare.hardware ?? assert.fail()),
    name: `${name}-d`,
    mac: MAC,
    pciPath: '0000:01:00.0',
  };
  const options = {
    ...{ mode: 'active-backup 1', miimon: '20', fail_over_mac: 'none 0', all_slaves_active: '1' },
    ...{ num_grat_arp: '3', peer_notif_delay: '100', primary_reselect: 'always 0', lp_interval: '1' },
  };
  const members = [`${name}-d`, ...(standby ? [STANDBY.name] : [])];
  return {
    ...bare,
    hardware,
    standIn: { kind: 'bond', name, members, active: `${name}-d`, options },
    ...(standby ? { standby: { ...STANDBY, mac: MAC } } : {}),
  };
}

const byPath = ({ files }: Persisting) => new Map(files.map((each) => [each.path, each]));
const textOf = (persisting: Persisting, path: string) =>
  byPath(persisting).get(path)?.text ?? assert.fail(path);

const RULES = '/etc/udev/rules.d/79-shadowferry-net0.rules';
const LINK_FILE = '/etc/systemd/network/01-shadowferry-net0.link';
const BOND_LINK = '/etc/systemd/network/01-shadowferry-net0-bond.link';
const NETDEV = '/etc/systemd/network/01-shadowferry-net0.netdev';
const PROFILES = '/etc/NetworkManager/system-connections';
const WITHOUT_CARRIER = '/etc/NetworkManager/conf.d/50-shadowferry-net0.conf';

describe('what is written for the next boot', () => {
  it('is the name alone of a bare interface, whatever its driver is', () => {
    const bare = shadow({ link: { ...LINK, name: 'lan0' } });
    const { pciPath, mac } = bare.hardware ?? assert.fail();
    const made = persistFiles(bare, NOTHING, TAG);
    assert.deepEqual([...byPath(made).keys()], [RULES]);
    assert.ok(
      textOf(made, RULES).endsWith(
        `SUBSYSTEM=="net", ACTION=="add", KERNELS=="${pciPath}", ATTR{address}=="${mac}", NAME="lan0"\n`,
      ),
    );
    assert.deepEqual(persistFiles(bare, { ...NOTHING, udev: false }, TAG).files, []);
  });

  it('begins with our name in every file, and a profile is for root alone', () => {
    const network = {
      path: '/run/systemd/network/00-shadowferry-net0.network',
      lines: ['[Match]', 'Name=lan0'],
    };
    const profile = {
      path: '/run/NetworkManager/system-connections/shadowferry-net0.nmconnection',
      lines: [],
    };
    const ifupdown = { ifupdown: true, interfaces: ['source /etc/network/interfaces.d/*'] };
    for (const facts of [{ network }, { profile }, ifupdown]) {
      const { files, problems } = persistFiles(bond('lan0', true), { ...NOTHING, ...facts }, TAG);
      assert.deepEqual(problems, []);
      assert.ok(files.length >= 3);
      for (const { path, text, mode } of files) {
        assert.match(text, /^(#!\/bin\/sh\n)?# Written by Shadowferry /, path);
        assert.equal(mode === '600', path.startsWith(PROFILES), path);
      }
    }
  });

  it('makes the bond by networkd, with both members, and its copy of the settings', () => {
    const lines = ['[Match]', 'Name=lan0', 'Kind=bond', '', '[Network]', 'DHCP=yes', '[DHCPv4]', 'IAID=0x1'];
    const network = { path: '/run/systemd/network/00-shadowferry-net0.network', lines };
    const made = persistFiles(bond('lan0', true), { ...NOTHING, network }, TAG);
    assert.match(textOf(made, RULES), /NAME="lan0-d"\n$/);
    const netdev = textOf(made, NETDEV);
    for (const line of [
      'Name=lan0',
      'Kind=bond',
      `MACAddress=${MAC}`,
      'Mode=active-backup',
      'MIIMonitorSec=20ms',
    ])
      assert.ok(netdev.split('\n').includes(line), line);
    assert.match(
      netdev,
      /FailOverMACPolicy=none\nAllSlavesActive=yes\nGratuitousARP=3\nPrimaryReselectPolicy=always\n/,
    );
    const direct = textOf(made, '/etc/systemd/network/01-shadowferry-net0-direct.network');
    assert.match(direct, new RegExp(`Path=\\*pci-0000:01:00\\.0\nMACAddress=${MAC}\n`));
    assert.match(direct, /Bond=lan0\nPrimarySlave=yes\n/);
    const standby = textOf(made, '/etc/systemd/network/01-shadowferry-net0-standby.network');
    assert.ok(standby.includes(`Path=*pci-${STANDBY.pciPath}\n`) && !standby.includes('PrimarySlave'));
    assert.match(
      textOf(made, '/etc/systemd/network/01-shadowferry-net0.network'),
      /DHCP=yes\n\[DHCPv4\]\nIAID=0x1\n$/,
    );
  });

  it("leaves the addresses to networkd's own file where that one has the bond", () => {
    const network = { path: '/etc/systemd/network/50-lan.network', lines: ['[Match]', 'Name=lan0'] };
    const made = persistFiles(bond('lan0', false), { ...NOTHING, network }, TAG);
    assert.ok(!byPath(made).has('/etc/systemd/network/01-shadowferry-net0.network'));
    assert.ok(!byPath(made).has('/etc/systemd/network/01-shadowferry-net0-standby.network'));
  });

  it('knows a member by the MAC that it was born with', () => {
    const network = { path: '/etc/systemd/network/50-lan.network', lines: ['[Match]', 'Name=lan0'] };
    const directMac = '02:00:00:00:00:09';
    const made = persistFiles(bond('lan0', false), { ...NOTHING, network, directMac }, TAG);
    assert.match(textOf(made, RULES), /ATTR\{address\}=="02:00:00:00:00:09", NAME="lan0-d"/);
    assert.match(
      textOf(made, '/etc/systemd/network/01-shadowferry-net0-direct.network'),
      /\nPermanentMACAddress=02:00:00:00:00:09\n/,
    );
  });

  it("keeps udev from giving the device the bond's name as another one, and what else the device's .link file says", () => {
    const network = { path: '/etc/systemd/network/50-lan.network', lines: [] };
    const link = {
      path: '/etc/systemd/network/10-lan.link',
      lines: [
        '# no',
        '[Match]',
        'Path=x',
        '[Link]',
        'NamePolicy=path',
        'MTUBytes=9000',
        '[SR-IOV]',
        'VirtualFunction=1',
      ],
    };
    const lan = bond('lan0', false);
    const made = persistFiles(lan, { ...NOTHING, network, link }, TAG);
    assert.equal(
      textOf(made, LINK_FILE).split('\n').slice(3).join('\n'),
      `[Match]\nPath=*pci-0000:01:00.0\nMACAddress=${MAC}\n\n[Link]\nMTUBytes=9000\n[SR-IOV]\nVirtualFunction=1\n\n` +
        '[Link]\nNamePolicy=\nAlternativeNamesPolicy=\n',
    );
    assert.ok(!byPath(made).has(BOND_LINK));
    const named = { ...lan, link: { ...lan.link, altnames: ['office', 'up-1'] } };
    assert.match(
      textOf(persistFiles(named, { ...NOTHING, network, link }, TAG), BOND_LINK),
      /OriginalName=lan0\nType=bond\n\n\[Link\]\nAlternativeName=office\nAlternativeName=up-1\n$/,
    );
    assert.match(persistFiles(lan, { ...NOTHING, network }, TAG).notes.join(), /udev did not say/);
    const odd = { ...lan, link: { ...lan.link, altnames: ['a\nName=x'] } };
    assert.equal(persistFiles(odd, { ...NOTHING, network, link }, TAG).problems.length, 1);
  });

  it('makes profiles for NetworkManager: the one that it has below /run, and members that name it', () => {
    const lines = [
      '[connection]',
      'id=lan',
      'uuid=abc',
      'type=bond',
      '',
      '[bond]',
      'mode=x',
      '[ipv4]',
      'method=auto',
    ];
    const profile = { path: '/run/NetworkManager/system-connections/shadowferry-net0.nmconnection', lines };
    const made = persistFiles(bond('lan0', true), { ...NOTHING, profile }, TAG);
    const main = textOf(made, `${PROFILES}/shadowferry-net0.nmconnection`);
    assert.match(main, /\nid=lan\nuuid=abc\ntype=bond\ninterface-name=lan0\n/);
    assert.match(main, /\nmode=active-backup\nmiimon=20\nfail_over_mac=none\n/);
    assert.ok(main.includes(`\n[ethernet]\ncloned-mac-address=${MAC}\n`));
    assert.match(main, /\[ipv4\]\nmethod=auto\n$/);
    assert.ok(!main.includes('mode=x') && !main.includes('lp_interval'));
    const ids = ['direct', 'standby'].map((role) => {
      const text = textOf(made, `${PROFILES}/shadowferry-net0-${role}.nmconnection`);
      assert.match(text, /\nmaster=abc\nslave-type=bond\n/);
      return /^uuid=([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/m.exec(text)?.[1] ?? assert.fail(text);
    });
    assert.notEqual(ids[0], ids[1]);
    // the standby's link is down until it is needed
    const alone = textOf(made, WITHOUT_CARRIER);
    assert.ok(
      alone.endsWith(
        `\n[device-shadowferry-net0]\nmatch-device=interface-name:=${STANDBY.name}\nignore-carrier=yes\n`,
      ),
    );
    assert.ok(!byPath(persistFiles(bond('lan0', false), { ...NOTHING, profile }, TAG)).has(WITHOUT_CARRIER));
    assert.deepEqual(persistFiles(bond('lan0', true), { ...NOTHING, profile }, TAG), made);
  });

  it('leaves the stanza of ifupdown where it is', () => {
    const interfaces = ['source /etc/network/interfaces.d/*', 'allow-hotplug lan0', 'iface lan0 inet dhcp'];
    const made = persistFiles(bond('lan0', true), { ...NOTHING, ifupdown: true, interfaces }, TAG);
    assert.match(textOf(made, '/etc/network/interfaces.d/shadowferry-net0'), /\nauto lan0\n$/);
    const hook = textOf(made, '/etc/network/if-pre-up.d/shadowferry-net0');
    assert.match(hook, /options='mode active-backup miimon 20 .*peer_notify_delay 100 /);
    const without = persistFiles(bond('lan0', true), { ...NOTHING, ifupdown: true, interfaces: [] }, TAG);
    assert.deepEqual([without.files, without.problems.length], [[], 1]);
  });

  it('needs no word of its own where ifupdown takes the interface up at boot anyway, as on Alpine', () => {
    const interfaces = ['auto lo  lan0', 'iface lan0 inet dhcp'];
    const facts = { ...NOTHING, udev: false, systemd: false, ifupdown: true, interfaces };
    const made = persistFiles(bond('lan0', true), facts, TAG);
    assert.deepEqual(
      made.files.map(({ path }) => path),
      ['/etc/network/if-pre-up.d/shadowferry-net0'],
    );
  });

  it('waits for udev where the bond has the name that the kernel gives the device', () => {
    const network = { path: '/etc/systemd/network/50-lan.network', lines: [] };
    const unit = '/etc/systemd/system/systemd-networkd.service.d/50-shadowferry-net0.conf';
    assert.ok(byPath(persistFiles(bond('eth0', false), { ...NOTHING, network }, TAG)).has(unit));
    assert.ok(!byPath(persistFiles(bond('lan0', false), { ...NOTHING, network }, TAG)).has(unit));
  });

  it('is nothing where somebody else makes the bond, and where nobody could', () => {
    const network = { path: '/etc/systemd/network/50-lan.network', lines: [] };
    const member = { path: '/etc/systemd/network/40-port.network', lines: ['[Network]', 'Bond=lan0'] };
    const profile = { path: `${PROFILES}/bond.nmconnection`, lines: ['[connection]', 'uuid=abc'] };
    const interfaces = ['source /etc/network/interfaces.d/*', 'iface lan0 inet dhcp', '  bond-slaves eth0'];
    for (const facts of [{ network, member }, { profile }, { ifupdown: true, interfaces }]) {
      const { files, problems, notes } = persistFiles(bond('lan0', false), { ...NOTHING, ...facts }, TAG);
      assert.deepEqual([files, problems, notes.length], [[], [], 1]);
    }
    for (const facts of [{}, { networkManager: true }]) {
      const { files, problems } = persistFiles(bond('lan0', false), { ...NOTHING, ...facts }, TAG);
      assert.deepEqual([files, problems.length], [[], 1]);
    }
  });

  it('is nothing for names that would mean something else in a file', () => {
    for (const name of ["lan'0", 'lan"0', 'lan%i', 'lan*', 'lan$x']) {
      const network = { path: '/etc/systemd/network/50-lan.network', lines: [] };
      const { files, problems } = persistFiles(bond(name, false), { ...NOTHING, network }, TAG);
      assert.deepEqual([files, problems.length], [[], 1], name);
    }
  });
});

for (const [program, ...words] of SHELLS) {
  const skip = findProgram(program) === undefined ? `needs ${program}` : false;
  describe(`persist.sh under ${[program, ...words].join(' ')}`, { skip }, () => {
    let root = '';
    beforeEach(() => {
      root = mkdtempSync(join(tmpdir(), 'shadowferry-persist-'));
    });
    afterEach(() => rmSync(root, { recursive: true, force: true }));

    function put(path: string, text: string, mode = 0o644): void {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text, { mode });
    }
    const get = (path: string) => readFileSync(join(root, path), 'utf8');
    const list = (path: string) => (existsSync(join(root, path)) ? readdirSync(join(root, path)) : []);

    async function run(calls: readonly (readonly [string, ...string[]])[]): Promise<string> {
      const env = { ...process.env, SHADOWFERRY_ROOT: root, SHADOWFERRY_TOOLS: join(root, 'tools') };
      const { stdout, stderr } = await exec([program, ...words, '-s'], {
        ...{ env, input: persistScript(calls) },
        signal: deadline('persist.sh', 30_000),
      });
      assert.equal(stderr, '');
      return stdout;
    }

    const some = (text: string, ...paths: string[]): Persisting => ({
      files: paths.map((path) => ({ path, mode: '600', text: `# Written by Shadowferry: test\n${text}` })),
      ...{ problems: [], notes: [] },
    });

    it('tells what systemd-networkd, NetworkManager and ifupdown have, and MACs that devices were born with', async () => {
      put('run/udev/data', '');
      put(
        'tools/udevadm',
        `#!/bin/sh\n[ "$*" = 'test-builtin --action=change net_setup_link /sys/class/net/lan0-d' ] || exit 1\n` +
          'echo ID_NET_DRIVER=x\necho ID_NET_LINK_FILE=/usr/lib/systemd/network/99-default.link\n',
      );
      chmodSync(join(root, 'tools/udevadm'), 0o755);
      put('usr/lib/systemd/network/99-default.link', '[Link]\nNamePolicy=path\n');
      put('etc/systemd/network/99-default.link.d/a.conf', '[Link]\nMTUBytes=9000\n');
      put('sys/class/net/lan0/ifindex', '7\n');
      put('sys/class/net/lan0-d/ifindex', '3\n');
      put('sys/bus/pci/devices/0000:01:00.0/net/lan0-d/address', `${MAC}\n`);
      put(
        'tools/ip',
        `#!/bin/sh\necho "3: lan0-d: link/ether ${MAC} brd x permaddr 02:00:00:00:00:09 \\\\"\n`,
      );
      chmodSync(join(root, 'tools/ip'), 0o755);
      put('run/systemd/netif/links/7', 'NETWORK_FILE=/etc/systemd/network/50-a b.network\n');
      put('etc/systemd/network/50-a b.network', "[Match]\nName='%s' $(x)\n\n  tail");
      put('run/systemd/netif/links/3', 'NETWORK_FILE=/etc/systemd/network/40.network\n');
      put('etc/systemd/network/40.network', '[Network]\nBond=lan0\n');
      put('run/NetworkManager/devices/7', '[device]\nmanaged=true\nconnection-uuid=abc\n');
      put('etc/NetworkManager/system-connections/x.nmconnection', '[connection]\nuuid=abc\n');
      put('run/network/ifstate', 'lan0=lan0\n');
      put('etc/network/interfaces', 'iface lan0 inet dhcp\n');
      put('etc/network/interfaces.d/shadowferry-net0', '# Written by Shadowferry\nauto lan0\n');
      const { problems, ...facts } = parsePersistFacts(await run([factsCall(bond('lan0', false))]));
      assert.deepEqual(problems, []);
      assert.deepEqual(facts, {
        ...{ udev: true, systemd: false, directMac: '02:00:00:00:00:09', standbyMac: undefined },
        network: {
          path: '/etc/systemd/network/50-a b.network',
          lines: ['[Match]', "Name='%s' $(x)", '', '  tail'],
        },
        member: { path: '/etc/systemd/network/40.network', lines: ['[Network]', 'Bond=lan0'] },
        link: {
          path: '/usr/lib/systemd/network/99-default.link',
          lines: ['[Link]', 'NamePolicy=path', '[Link]', 'MTUBytes=9000'],
        },
        profile: {
          path: '/etc/NetworkManager/system-connections/x.nmconnection',
          lines: ['[connection]', 'uuid=abc'],
        },
        ...{ networkManager: true, ifupdown: true, interfaces: ['iface lan0 inet dhcp'] },
      });
    });

    it('tells little of a guest that has little', async () => {
      put('tools/ip', '');
      const { problems, ...facts } = parsePersistFacts(await run([factsCall(shadow({}))]));
      assert.deepEqual(problems, []);
      assert.deepEqual(facts, { ...NOTHING, udev: false, systemd: false });
    });

    it('writes files with their modes, and leaves nothing else', async () => {
      const text = `it's "%s" $(x)\\n\n`;
      assert.equal(await run(writeCalls(some(text, NETDEV, RULES), TAG)), `file ${NETDEV}\nfile ${RULES}\n`);
      assert.equal(get(NETDEV), `# Written by Shadowferry: test\n${text}`);
      assert.equal(statSync(join(root, NETDEV)).mode & 0o777, 0o600);
      assert.deepEqual(list('etc/systemd/network'), ['01-shadowferry-net0.netdev']);
      assert.deepEqual(list('etc/udev/rules.d'), ['79-shadowferry-net0.rules']);
      assert.deepEqual(list('etc').toSorted(), ['systemd', 'udev']);
    });

    it('understands the step of ifup', async () => {
      const facts = { ...NOTHING, ifupdown: true, interfaces: ['source-directory interfaces.d'] };
      const hook = textOf(
        persistFiles(bond('lan0', true), facts, TAG),
        '/etc/network/if-pre-up.d/shadowferry-net0',
      );
      put('hook', hook);
      const signal = deadline('the step of ifup', 30_000);
      // of another interface it is not, and nothing is done
      const { stdout, stderr } = await exec([program, ...words, join(root, 'hook')], {
        ...{ env: { ...process.env, IFACE: 'lo' }, signal },
      });
      assert.equal(stdout + stderr, '');
    });

    it('takes away what an earlier time has written and is not written any more', async () => {
      await run(writeCalls(some('1', NETDEV, RULES), TAG));
      await run(writeCalls(some('2', RULES), TAG));
      assert.deepEqual(list('etc/systemd/network'), []);
      assert.match(get(RULES), /\n2$/);
    });

    it('writes nothing at all where one of the files is not ours', async () => {
      await run(writeCalls(some('1', RULES), TAG));
      put(NETDEV, "somebody's\n");
      const said = await run(writeCalls(some('2', NETDEV, RULES), TAG));
      assert.match(said, new RegExp(`^problem ${NETDEV} is there already, and is not ours$`, 'm'));
      assert.equal(get(NETDEV), "somebody's\n");
      assert.match(get(RULES), /\n1$/);
    });

    it('puts back what was there when one of the files cannot be written', async () => {
      await run(writeCalls(some('1', RULES), TAG));
      const calls = writeCalls(some('2', RULES, NETDEV), TAG);
      // the directory becomes a file in between, which not even root can write below
      const at = calls.findIndex(([call, path]) => call === 'put' && path === NETDEV);
      const said = await run([
        ...calls.slice(0, at),
        ['rm', '-rf', join(root, dirname(NETDEV))],
        ['touch', join(root, dirname(NETDEV))],
        ...calls.slice(at),
      ]);
      assert.match(said, /^problem .*netdev was not written$/m);
      assert.match(get(RULES), /\n1$/);
      assert.deepEqual(list('etc/udev/rules.d'), ['79-shadowferry-net0.rules']);
    });

    it('removes what is ours and nothing else, also when asked twice', async () => {
      await run(writeCalls(some('1', NETDEV, RULES), TAG));
      put('/etc/network/interfaces.d/shadowferry-net0', 'auto lan0\n');
      assert.match(await run([removeCall(TAG)]), /^removed .*rules$/m);
      assert.equal(await run([removeCall(TAG)]), '');
      assert.deepEqual([list('etc/systemd/network'), list('etc/udev/rules.d')], [[], []]);
      assert.equal(get('/etc/network/interfaces.d/shadowferry-net0'), 'auto lan0\n');
    });

    it('after it was cut off in the middle, puts back what was there', async () => {
      await run(writeCalls(some('1', RULES), TAG));
      const calls = writeCalls(some('2', RULES, NETDEV), TAG);
      await run(
        calls.slice(
          0,
          calls.findIndex(([call]) => call === 'finish'),
        ),
      );
      await run([removeCall(TAG)]);
      assert.match(get(RULES), /\n1$/);
      assert.deepEqual(list('etc/systemd/network'), []);
    });
  });
}
