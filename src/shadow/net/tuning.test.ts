/** tuning.sh under several shells, on a device made of files, with a stand-in for ethtool. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exec } from '../../base/exec.ts';
import { shellCommand } from '../../base/shell-quote.ts';
import { hasShell, SHELLS } from './fake-guest.test-data.ts';

const TUNING = new URL('./tuning.sh', import.meta.url).pathname;
const PCI = '0000:01:00.0';

/** What program.sh gives to tuning.sh; ethtool refuses what is above 256, and a key of another length than its own. */
const PROGRAM = `
set -u
renaming= run=$1 root=$1/root net=$1/root/sys/class/net ip=ip_tool
ip_tool() {
  case $1 in
    -d) echo '2: a b: <UP> mtu 1500 minmtu 68 maxmtu 4096 addrgenmode eui64' ;;
    *)
      if [ "$6" -gt 4096 ]; then echo 'Error: mtu greater than device maximum.' >&2; return 2; fi
      echo "ip $*" >>"$run/calls"
      ;;
  esac
}
tool() { path=ethtool; }
failed_op() { echo "failed $*"; }
read_errors() { said=$(cat "$run/err"); }
attempt() {
  code=0
  "$@" >/dev/null 2>"$run/err" || code=$?
  if [ "$code" != 0 ]; then read_errors; fi
}
ethtool() {
  case $1 in
    -g) printf 'Pre-set maximums:\\nRX:\\t\\t256\\nTX:\\t\\t64\\nCurrent hardware settings:\\nRX:\\t\\t16\\n'; return ;;
    -l) printf 'Pre-set maximums:\\nRX:\\t\\t4\\nTX:\\t\\t2\\nOther:\\t\\tn/a\\nCombined:\\tn/a\\nCurrent hardware settings:\\n'; return ;;
    -x) printf 'RSS hash key:\\n01:02:03:04:05:06\\n'; return ;;
  esac
  words="$*"
  case $1 in
    -G | -L)
      shift 2
      while [ $# -ge 2 ]; do
        case $1 in rx) most=256 ;; tx) most=64 ;; *) most=0 ;; esac
        if [ "$2" -gt "$most" ]; then echo 'requested ring size exceeds maximum' >&2; return 22; fi
        shift 2
      done
      ;;
    -X) case $3 in hkey) if [ "\${#4}" != 17 ]; then echo 'Key is too long for device' >&2; return 1; fi ;; esac ;;
  esac
  echo "$words"
  echo "$words" >>"$run/calls"
}
. "$2"
shift 2
"$@"
`;

for (const shell of SHELLS) {
  describe(`tuning.sh under ${shell.join(' ')}`, async () => {
    const skip = !(await hasShell(shell)) && 'not installed';
    let dir = '';
    const file = (path: string) => join(dir, 'root', path);
    const put = (path: string, text = '') => {
      mkdirSync(join(file(path), '..'), { recursive: true });
      writeFileSync(file(path), text);
    };
    const read = (path: string) => readFileSync(file(path), 'utf8');

    before(() => {
      dir = mkdtempSync(join(tmpdir(), 'tuning-'));
      for (const queue of ['rx-0', 'rx-1', 'tx-0', 'tx-1', 'tx-2']) {
        for (const knob of ['rps_cpus', 'rps_flow_cnt', 'xps_cpus', 'byte_queue_limits/limit_max']) {
          put(`sys/class/net/a b/queues/${queue}/${knob}`, '-');
        }
      }
    });
    after(() => rmSync(dir, { recursive: true, force: true }));

    /** Runs one function; gives what ethtool was called with and what failed. */
    async function tune(...words: string[]): Promise<{ calls: string[]; failed: string[] }> {
      writeFileSync(join(dir, 'calls'), '');
      const [program, ...args] = shell;
      const script = join(dir, 'program');
      writeFileSync(script, PROGRAM);
      const { stdout } = await exec([program, ...args, script, dir, TUNING, ...words]);
      const calls = readFileSync(join(dir, 'calls'), 'utf8').split('\n').slice(0, -1);
      return { calls, failed: stdout.split('\n').slice(0, -1) };
    }

    it('gives a device the largest rings that it has', { skip }, async () => {
      const { calls, failed } = await tune('tune_fit', '5', '-G', 'eth0', 'rx', '4096', 'tx', '32');
      assert.deepEqual(calls, ['-G eth0 rx 256', '-G eth0 tx 32']);
      assert.deepEqual(failed, []);
    });

    it('gives channels of one direction where there are none of both', { skip }, async () => {
      const { calls } = await tune('tune_fit', '5', '-L', 'eth0', 'combined', '3');
      assert.deepEqual(calls, ['-L eth0 rx 3 tx 2']);
    });

    it('gives a device, and the interface above it, the largest MTU that it has', { skip }, async () => {
      put('sys/class/net/over/mtu', '9000\n');
      const less = await tune('tune_mtu', '5', 'a b', 'over', '9000');
      assert.deepEqual(less.calls, ['ip link set dev a b mtu 4096', 'ip link set dev over mtu 4096']);
      assert.deepEqual(less.failed, []);
      const known = await tune('tune_mtu', '5', 'a b', 'over', '3000', 'fits');
      assert.deepEqual(known.calls, ['ip link set dev over mtu 3000']);
      put('sys/class/net/over/mtu', '3000\n');
      assert.deepEqual((await tune('tune_mtu', '5', 'a b', 'over', '3000', 'fits')).calls, []);
    });

    it('tells what cannot be at all', { skip }, async () => {
      const { failed } = await tune('tune_fit', '5', '-G', 'eth0', 'rx-mini', '7');
      assert.deepEqual(failed, ['failed 5 22 rx-mini: requested ring size exceeds maximum']);
    });

    it('unites the processors of queues that must share one', { skip }, async () => {
      const masks = ['00000001,00000000', '00000000,80000002', '00000000,00000004'];
      await tune('tune_queue', '6', 'a b', 'rx', 'rps_cpus', 'unite', ...masks);
      assert.equal(read('sys/class/net/a b/queues/rx-0/rps_cpus'), '00000001,00000004');
      assert.equal(read('sys/class/net/a b/queues/rx-1/rps_cpus'), '00000000,80000002');
    });

    it('adds up flows, and takes the largest limit', { skip }, async () => {
      await tune('tune_queue', '6', 'a b', 'rx', 'rps_flow_cnt', 'add', '32', '-', '64', '128');
      assert.equal(read('sys/class/net/a b/queues/rx-0/rps_flow_cnt'), '96');
      assert.equal(read('sys/class/net/a b/queues/rx-1/rps_flow_cnt'), '128');
      const limits = ['3', '900', '5', '1000'];
      await tune('tune_queue', '6', 'a b', 'tx', 'byte_queue_limits/limit_max', 'largest', ...limits);
      assert.equal(read('sys/class/net/a b/queues/tx-0/byte_queue_limits/limit_max'), '1000');
      assert.equal(read('sys/class/net/a b/queues/tx-1/byte_queue_limits/limit_max'), '900');
    });

    it('repeats the pattern on further queues, but only a whole one', { skip }, async () => {
      await tune('tune_queue', '6', 'a b', 'tx', 'xps_cpus', 'unite', '00000001', '00000002');
      assert.equal(read('sys/class/net/a b/queues/tx-2/xps_cpus'), '00000001');
      await tune('tune_queue', '6', 'a b', 'tx', 'rps_cpus', 'unite', '-', '00000002');
      assert.equal(read('sys/class/net/a b/queues/tx-2/rps_cpus'), '-');
      assert.equal(read('sys/class/net/a b/queues/tx-1/rps_cpus'), '00000002');
    });

    it('spreads flows over the queues that there are', { skip }, async () => {
      assert.deepEqual((await tune('tune_spread', '7', 'a b', 'equal')).calls, ['-X a b equal 2']);
      assert.deepEqual((await tune('tune_spread', '7', 'a b', 'equal', '1')).calls, ['-X a b equal 1']);
      assert.deepEqual((await tune('tune_spread', '7', 'a b', 'equal', '8')).calls, ['-X a b equal 2']);
      const weights = await tune('tune_spread', '7', 'a b', 'weight', '3', '1', '2', '0');
      assert.deepEqual(weights.calls, ['-X a b weight 5 1']);
      assert.deepEqual((await tune('tune_spread', '7', 'a b', 'counts', '9')).calls, ['-X a b weight 9']);
    });

    it('cuts or repeats a key', { skip }, async () => {
      const long = await tune('tune_key', '8', 'a b', 'aa:bb:cc:dd:ee:ff:99');
      assert.deepEqual(long.calls, ['-X a b hkey aa:bb:cc:dd:ee:ff']);
      const short = await tune('tune_key', '8', 'a b', 'aa:bb:cc:dd');
      assert.deepEqual(short.calls, ['-X a b hkey aa:bb:cc:dd:aa:bb']);
    });

    it('sends a rule’s flows to a queue that is there', { skip }, async () => {
      const words = ['flow-type', 'tcp4', 'dst-port', '80', 'action', '3', 'loc', '9'];
      const { calls } = await tune('tune_rule', '9', 'a b', ...words);
      assert.deepEqual(calls, ['-U a b flow-type tcp4 dst-port 80 action 1 loc 9']);
      const drop = await tune('tune_rule', '9', 'a b', 'flow-type', 'ip4', 'action', '-1', 'loc', '2');
      assert.deepEqual(drop.calls, ['-U a b flow-type ip4 action -1 loc 2']);
    });

    describe('interrupts', { skip }, () => {
      const vectors = (numbers: Record<number, string>) => {
        for (const place of [`sys/bus/pci/devices/${PCI}`, 'proc/irq']) {
          rmSync(file(place), { recursive: true, force: true });
        }
        for (const [number, action] of Object.entries(numbers)) {
          put(`sys/bus/pci/devices/${PCI}/msi_irqs/${number}`);
          put(`proc/irq/${number}/smp_affinity`, '-');
          mkdirSync(file(`proc/irq/${number}/${action}`));
        }
      };
      const masks = (...numbers: number[]) => numbers.map((n) => read(`proc/irq/${n}/smp_affinity`));
      const four = ['rx', '1', '2', '4', '8', 'tx', '1', '2', '4', '8', 'other', '8'];

      it('go where those of their queues went, in the order of their numbers', async () => {
        vectors({ 9: 'rx0-rx-0', 10: 'rx0-rx-1', 11: 'rx0-tx-0', 100: 'rx0-tx-1', 101: 'rx0' });
        await tune('tune_vectors', '9', 'rx0', PCI, ...four);
        assert.deepEqual(masks(9, 10, 11, 100, 101), ['5', 'a', '5', 'a', '8']);
      });

      it('share a vector that serves both directions', async () => {
        vectors({ 24: 'eth0-TxRx-0', 25: 'eth0-TxRx-1', 26: 'eth0-event-2' });
        await tune('tune_vectors', '9', 'eth0', PCI, 'rx', '1', '2', 'tx', '4', '8');
        assert.deepEqual(masks(24, 25, 26), ['5', 'a', '-']);
      });

      it('share the only one', async () => {
        vectors({ 24: 'eth0' });
        await tune('tune_vectors', '9', 'eth0', PCI, ...four);
        assert.deepEqual(masks(24), ['f']);
      });

      it('of virtio are the device’s, not the interface’s', async () => {
        vectors({ 40: 'virtio1-config', 41: 'virtio1-input.0', 42: 'virtio1-output.0' });
        await tune('tune_vectors', '9', 'eth0', PCI, 'rx', '2', 'tx', '4', 'other', '1');
        assert.deepEqual(masks(40, 41, 42), ['1', '2', '4']);
      });
    });

    it('says what the kernel does not take', { skip }, async () => {
      const words = ['tune_queue', '6', 'none', 'rx', 'rps_cpus', 'unite', '1'];
      assert.deepEqual((await tune(...words)).failed, []); // no such queues
      mkdirSync(file('sys/class/net/a b/queues/rx-0/full'));
      const { failed } = await tune('tune_queue', '6', 'a b', 'rx', 'full', 'largest', '1');
      assert.equal(failed.length, 1);
      assert.match(failed[0] ?? '', /^failed 6 1 rx-0\/full does not take 1: /);
    });

    it('quotes nothing into commands', { skip }, async () => {
      const { calls } = await tune('tune_call', '1', 'ethtool', '-s', '$(touch x); `y`', 'wol', 'g');
      assert.deepEqual(calls, ['-s $(touch x); `y` wol g'], shellCommand(calls));
    });
  });
}
