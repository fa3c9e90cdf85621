/** What the guest does while it is moved. Counts its own work, so that what a migration takes from it can be said. */
import type { RunningVm } from '../../src/migration/vm.ts';
import type { Work } from './cost.ts';

export const WORKLOADS = ['idle', 'requests', 'scan', 'hot', 'midway'] as const;
export type Workload = (typeof WORKLOADS)[number];

export const ABOUT: Readonly<Record<Workload, string>> = {
  idle: 'an idle guest',
  requests: 'it answers requests of a peer outside',
  scan: 'it writes through 96 MiB over and over',
  hot: 'it writes 16 MiB over and over',
  midway: 'it writes through 96 MiB for six seconds, and then is idle',
};

/**
 * Pages change with each write, and are not zeros: zeros cost nothing to send. A round of writing is one program, as
 * starting one costs an emulated guest more than the writing of a mebibyte.
 */
const SCRIPT = `
cd /tmp/work || exit 1
mode=$1
blocks=12
[ "$mode" = hot ] && blocks=2
n=0
end=0
if [ "$mode" = midway ]; then
  read -r up rest </proc/uptime
  end=$((\${up%%.*} + 6))
fi
while [ ! -e stop ]; do
  dd if="seed$((n / blocks % 2))" of=area bs=8M count=1 seek="$((n % blocks))" conv=notrunc 2>/dev/null
  n=$((n + 1))
  echo "$n" >count
  if [ "$end" -gt 0 ]; then
    read -r up rest </proc/uptime
    [ "\${up%%.*}" -lt "$end" ] || break
  fi
done
rm -f running
`;

/** Mounts the place where work is done, and fills it: the same bytes cross the link whatever the guest does. */
const PREPARE = `
mkdir -p /tmp/work
mountpoint -q /tmp/work || mount -t tmpfs -o size=128m tmpfs /tmp/work
cd /tmp/work || exit 1
rm -f stop count running
cat >run
[ -e seed0 ] || dd if=/dev/urandom of=seed0 bs=8M count=1 2>/dev/null
[ -e seed1 ] || dd if=/dev/urandom of=seed1 bs=8M count=1 2>/dev/null
n=0
while [ ! -e filled ] && [ $n -lt 12 ]; do
  dd if=seed0 of=area bs=8M count=1 seek=$n conv=notrunc 2>/dev/null
  n=$((n + 1))
done
: >filled
`;

async function inGuest(vm: RunningVm, script: string, input?: string): Promise<string> {
  const { stdout } = await vm.agent.exec(['/bin/sh', '-c', script], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    ...(input === undefined ? {} : { input }),
    check: true,
  });
  return stdout;
}

export async function prepare(vm: RunningVm): Promise<void> {
  await inGuest(vm, PREPARE, SCRIPT);
}

/** Starts a workload that writes; does nothing for the others. */
export async function start(vm: RunningVm, workload: Workload): Promise<void> {
  if (workload === 'idle' || workload === 'requests') return;
  await inGuest(
    vm,
    `cd /tmp/work; rm -f stop; echo 0 >count; : >running; setsid sh ./run ${workload} </dev/null >/dev/null 2>&1 &`,
  );
}

/** Ends it, and waits until it has ended. */
export async function stop(vm: RunningVm): Promise<void> {
  await inGuest(
    vm,
    'cd /tmp/work; : >stop; n=0; while [ -e running ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done',
  );
}

/** How much it has done by now. */
export async function work(vm: RunningVm): Promise<Work> {
  const text = await inGuest(vm, 'cat /tmp/work/count 2>/dev/null || echo 0');
  return { atMs: performance.now(), done: Number(text.trim()) || 0 };
}
