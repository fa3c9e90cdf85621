/** `manager.sh` under several shells, in a made-up tree with made-up tools; and what is made of its words. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../../base/deadline.ts';
import { exec } from '../../../base/exec.ts';
import { findProgram } from '../../../base/find-program.ts';
import { assignments } from '../compile.ts';
import { parseManagerReport, reportedOtherwise } from './manager.ts';

const SCRIPT = new URL('./manager.sh', import.meta.url).pathname;
const SHELLS = [['dash'], ['busybox', 'ash'], ['bash']] as const;
const HOSTILE = "lan'0%";

const LEASE = 'ADDRESS=10.0.0.5\nCLIENTID=ff56504d9800020000ab11\n';
const NETWORK = '[Match]\nName=lan0\n\n[Network]\nDHCP=yes\n[Match]\nType=ether\n';

for (const [program, ...words] of SHELLS) {
  const skip = findProgram(program) === undefined ? `needs ${program}` : false;
  describe(`manager.sh under ${[program, ...words].join(' ')}`, { skip }, () => {
    let root = '';
    let dir = '';
    beforeEach(() => {
      root = mkdtempSync(join(tmpdir(), 'shadowferry-manager-'));
      dir = join(root, 'dir');
      mkdirSync(dir);
      for (const tool of ['udevadm', 'networkctl', 'nmcli', 'systemctl', 'systemd-escape', 'ip']) {
        // `ip` always finds the address that it is asked for
        const more = tool === 'ip' ? 'case $* in *" to "*) echo yes ;; esac\n' : '';
        put(`tools/${tool}`, `#!/bin/sh\necho "${tool} $*" >>"${root}/called"\n${more}`, 0o755);
      }
      put('called', '');
      put('proc/1/comm', 'init\n');
      put('proc/uptime', '12.34 5.6\n');
    });
    afterEach(() => rmSync(root, { recursive: true, force: true }));

    function put(path: string, text: string, mode = 0o644): void {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text, { mode });
    }
    const get = (path: string) => readFileSync(join(root, path), 'utf8');

    async function run(what: 'yield' | 'giveback', config: Record<string, string> = {}): Promise<string> {
      const all = { interface: 'lan0', pci: '0000:01:00.0', standby: '', tag: 'net0', bond: '', ...config };
      writeFileSync(join(dir, 'config'), assignments(all));
      const env = { ...process.env, SHADOWFERRY_ROOT: root, SHADOWFERRY_TOOLS: join(root, 'tools') };
      const { stdout, stderr } = await exec([program, ...words, SCRIPT, dir, what], {
        env,
        signal: deadline('manager.sh', 30_000),
      });
      assert.equal(stderr, '');
      return stdout;
    }

    function networkd(name = 'lan0'): void {
      put(`sys/class/net/${name}/ifindex`, '7\n');
      put(
        'run/systemd/netif/links/7',
        'ADMIN_STATE=configured\nOPER_STATE=routable\nNETWORK_FILE=/etc/systemd/network/50-lan.network\n',
      );
      put('run/systemd/netif/leases/7', LEASE);
      put('etc/systemd/network/50-lan.network', NETWORK);
      put('etc/systemd/network/50-lan.network.d/more.conf', '[Match]\nName=x\n[DHCPv4]\nUseMTU=yes');
    }

    it('finds nobody, and does nothing', async () => {
      put('sys/class/net/lan0/ifindex', '7\n');
      assert.equal(await run('yield'), 'manager none\n');
      assert.equal(await run('giveback'), 'manager none\n');
      assert.equal(get('called'), '');
    });

    it('waits for another one that gives back only as long as that is there', async () => {
      mkdirSync(join(dir, 'returning'));
      const asked = run('giveback');
      await delay(1000);
      rmSync(dir, { recursive: true });
      assert.match(await asked, /was not finished/);
    });

    it('keeps networkd from the new device with a copy of its settings that only a marked device matches', async () => {
      networkd();
      const said = await run('yield');
      assert.match(said, /^manager networkd\nreport ADMIN_STATE=configured\nreport OPER_STATE=routable\n/);
      assert.equal(
        get('run/systemd/network/00-shadowferry-net0.network').replaceAll(/\n+/g, '\n'),
        '[Match]\nProperty=SHADOWFERRY=net0-12.34\n[Network]\nDHCP=yes\n[DHCPv4]\nUseMTU=yes\n' +
          '[DHCPv4]\nIAID=0x56504d98\n[Network]\nKeepConfiguration=yes\n',
      );
      assert.equal(
        get('run/udev/rules.d/78-shadowferry-net0.rules'),
        'SUBSYSTEM=="net", ACTION=="add|move", KERNELS=="0000:01:00.0", ENV{SHADOWFERRY}="net0-12.34"\n',
      );
      assert.equal(get('called'), 'udevadm control --reload\nnetworkctl reload\n');
    });

    it('gives the interface back to networkd once, and says so to whoever asks again', async () => {
      networkd();
      await run('yield');
      const said = await run('giveback');
      assert.match(said, /^manager networkd\nreport ADMIN_STATE=configured\n/);
      assert.ok(!existsSync(join(root, 'run/systemd/network/00-shadowferry-net0.network')));
      assert.ok(!existsSync(join(root, 'run/udev/rules.d/78-shadowferry-net0.rules')));
      const called = get('called');
      assert.equal(await run('giveback'), said);
      assert.equal(get('called'), called);
    });

    it('tells of another address from the DHCP server', async () => {
      networkd();
      await run('yield');
      put('run/systemd/netif/leases/7', LEASE.replace('10.0.0.5', '10.0.0.6'));
      assert.match(
        await run('giveback'),
        /^problem the DHCP server gave 10\.0\.0\.6 in place of 10\.0\.0\.5$/m,
      );
    });

    it('has the bond to come configured, and its members left alone, where there will be a bond', async () => {
      networkd();
      await run('yield', { bond: '1', standby: '0000:02:00.0' });
      assert.match(
        get('run/systemd/network/00-shadowferry-net0.network'),
        /^\[Match\]\nName=lan0\nKind=bond\n/,
      );
      assert.match(get('run/systemd/network/00-shadowferry-net0-members.network'), /Unmanaged=yes\n$/);
      assert.equal(get('run/udev/rules.d/78-shadowferry-net0.rules').match(/KERNELS/g)?.length, 2);
    });

    it('leaves networkd a file for the bond, by which it keeps its addresses while it has no carrier', async () => {
      networkd();
      put('run/systemd/netif/leases/7', '');
      await run('yield', { bond: '1' });
      const said = await run('giveback', { bond: '1' });
      assert.match(said, /^note lan0 is a bond now: /m);
      const left = get('run/systemd/network/00-shadowferry-net0.network').replaceAll(/\n+/g, '\n');
      assert.match(left, /^\[Match\]\nName=lan0\nKind=bond\n\[Network\]\nDHCP=yes\n/);
      assert.match(left, /\[Network\]\nIgnoreCarrierLoss=yes\n/);
      assert.doesNotMatch(left, /KeepConfiguration/);
    });

    it('has the address from the DHCP server before those added by hand again, in a bond that was there', async () => {
      networkd();
      put('sys/class/net/lan0/bonding/slaves', '');
      put('proc/sys/net/ipv4/conf/lan0/promote_secondaries', '1\n');
      put(
        'tools/ip',
        `#!/bin/sh
echo "ip $*" >>"${root}/called"
case $* in
  *' primary to '*) [ -e "${root}/later" ] || echo yes ;;
  *' to '*) echo yes ;;
  '-4 -o address show dev lan0 permanent') echo '7: lan0    inet 10.0.0.77/24 scope global lan0\\  valid_lft forever' ;;
esac
`,
        0o755,
      );
      const config = { bond: '1' };
      await run('yield', config);
      put('later', '');
      put('called', '');
      assert.doesNotMatch(await run('giveback', config), /problem/);
      assert.match(
        get('called'),
        /ip -4 address delete 10\.0\.0\.77\/24 dev lan0\nip -4 address add 10\.0\.0\.77\/24 scope global dev lan0/,
      );
    });

    it('leaves addresses alone that are in order, or that would take the others along', async () => {
      for (const promoted of ['0', '1']) {
        networkd();
        put('sys/class/net/lan0/bonding/slaves', '');
        put('proc/sys/net/ipv4/conf/lan0/promote_secondaries', `${promoted}\n`);
        const ip = (first: string) =>
          `#!/bin/sh\necho "ip $*" >>"${root}/called"\ncase $* in *' primary to '*) ${first} ;; *' to '*) echo yes ;; esac\n`;
        rmSync(dir, { recursive: true });
        mkdirSync(dir);
        put('tools/ip', ip('echo yes'), 0o755);
        await run('yield', { bond: '1' });
        if (promoted === '0') put('tools/ip', ip(':'), 0o755);
        const said = await run('giveback', { bond: '1' });
        assert.equal(/^problem 10\.0\.0\.5 came back after/m.test(said), promoted === '0');
        assert.doesNotMatch(get('called'), /address (delete|add)/);
      }
    });

    it('marks the new device as not for NetworkManager', async () => {
      put('sys/class/net/lan0/ifindex', '7\n');
      put('run/NetworkManager/devices/7', '[device]\nmanaged=true\nconnection-uuid=abc\n');
      assert.match(await run('yield'), /^manager NetworkManager\n/);
      assert.match(get('run/udev/rules.d/78-shadowferry-net0.rules'), /ENV\{NM_UNMANAGED\}="1"\n$/);
    });

    it('marks the old device too, which comes back when all is taken back', async () => {
      put('sys/class/net/lan0/ifindex', '7\n');
      put('run/NetworkManager/devices/7', '[device]\nmanaged=true\nconnection-uuid=abc\n');
      await run('yield', { pci: '0000:01:00.0 0000:03:00.0' });
      const marked = get('run/udev/rules.d/78-shadowferry-net0.rules').matchAll(/KERNELS=="([^"]*)"/g);
      assert.deepEqual(
        [...marked].map(([, path]) => path),
        ['0000:01:00.0', '0000:03:00.0'],
      );
    });

    it('survives names that mean something to a shell', async () => {
      networkd(HOSTILE);
      const said = await run('yield', { interface: HOSTILE });
      assert.match(said, /^manager networkd\n/);
      assert.match(await run('giveback', { interface: HOSTILE }), /^manager networkd\n/);
    });

    it('keeps hotplug from an interface of ifupdown where there is no systemd', async () => {
      put('sys/class/net/lan0/ifindex', '7\n');
      put('run/network/ifstate', 'lo=lo\nlan0=lan0\n');
      mkdirSync(join(root, 'run/udev'), { recursive: true });
      assert.equal(await run('yield'), 'manager ifupdown\nreport ifstate=lan0\n');
      assert.equal(get('run/udev/rules.d/80-ifupdown.rules'), '');
      await run('giveback');
      assert.ok(!existsSync(join(root, 'run/udev/rules.d/80-ifupdown.rules')));
    });

    it("has busybox's DHCP client wait while its interface is away, as it would end", async () => {
      put('sys/class/net/lan0/ifindex', '7\n');
      put('run/ifstate', 'lo=lo\nlan0=lan0\n');
      const client = spawn('sleep', ['60'], { stdio: 'ignore' });
      try {
        put(`proc/${client.pid}/comm`, 'udhcpc\n');
        put(`proc/${client.pid}/cmdline`, 'udhcpc\0-R\0-i\0lan0\0');
        const stopped = async (wanted: boolean) => {
          const limit = deadline('the signal', 10_000);
          const state = () => readFileSync(`/proc/${client.pid}/stat`, 'utf8').split(' ')[2];
          while ((state() === 'T') !== wanted) await delay(10, undefined, { signal: limit });
        };
        const said = 'manager ifupdown\nclient udhcpc\nreport ifstate=lan0\nreport client=running\n';
        assert.equal(await run('yield'), said);
        await stopped(true);
        assert.equal(await run('giveback'), said.replace('client udhcpc\n', ''));
        await stopped(false);
      } finally {
        client.kill('SIGKILL');
      }
    });

    it('leaves the client that NetworkManager has started to it', async () => {
      put('sys/class/net/lan0/ifindex', '7\n');
      put('run/NetworkManager/devices/7', '[device]\nmanaged=true\nconnection-uuid=abc\n');
      put('proc/20/comm', 'NetworkManager\n');
      put('proc/21/comm', 'dhclient\n');
      put('proc/21/cmdline', 'dhclient\0-d\0lan0\0');
      put('proc/21/status', 'Name:\tdhclient\nPPid:\t20\n');
      assert.doesNotMatch(await run('yield'), /client/);
    });

    it('says why a DHCP client does not start again, and what the kernel refused it', async () => {
      put('sys/class/net/lan0/ifindex', '7\n');
      const client = join(root, 'tools/dhclient');
      put(
        'tools/dhclient',
        '#!/bin/sh\necho Internet Systems\necho "Open a socket: Permission denied"\nexit 1\n',
        0o755,
      );
      const denied = (at: string, who: string) =>
        `[${at}] audit: type=1400 audit(1.2:3): apparmor="DENIED" operation="create" profile="p" comm="${who}"`;
      const log = [denied('    3.5', 'dhclient'), denied('   99.1', 'dhclient'), denied('  100.5', 'other')];
      put('tools/dmesg', `#!/bin/sh\ncat <<'EOT'\n${log.join('\n')}\nEOT\n`, 0o755);
      const old = spawn('sleep', ['60'], { stdio: 'ignore' });
      try {
        put(`proc/${old.pid}/comm`, 'dhclient\n');
        put(`proc/${old.pid}/cmdline`, `${client}\0lan0\0`);
        await run('yield');
        assert.match(
          await run('giveback'),
          /^problem the DHCP client dhclient did not start again: Open a socket: Permission denied \(apparmor="DENIED" operation="create" profile="p" comm="dhclient"\)$/m,
        );
      } finally {
        old.kill('SIGKILL');
      }
    });
  });
}

describe('what manager.sh says', () => {
  it('is taken apart; what is not known is a problem', () => {
    const said = 'manager networkd\nclient dhclient\nreport A=1\nnote n\nproblem p q\nwhat is this\n';
    assert.deepEqual(parseManagerReport(said), {
      manager: 'networkd',
      client: 'dhclient',
      report: ['A=1'],
      notes: ['n'],
      problems: ['p q', 'the guest said: what is this'],
    });
  });

  it('is compared line by line', () => {
    const before = parseManagerReport('manager networkd\nreport A=1\nreport B=2\n');
    assert.deepEqual(reportedOtherwise(before, before), []);
    const after = parseManagerReport('manager networkd\nreport A=1\nreport B=3\n');
    assert.deepEqual(reportedOtherwise(before, after), ['networkd reported B=2 before and B=3 now']);
  });
});
