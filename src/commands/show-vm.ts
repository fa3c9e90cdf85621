/** VMs as they are shown to people. Pure. */
import type { Vm, VmDetail } from '../daemon/api/model-vms.ts';

/** Text of a guest or of another program, so that it changes nothing in a terminal but its text. */
export function harmless(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replaceAll(/[^\P{Cc}\n\t]/gu, (char) => `\\x${(char.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`)
    .replaceAll(/[\u202a-\u202e\u2066-\u2069]/g, (char) => `\\u${(char.codePointAt(0) ?? 0).toString(16)}`);
}

function nicText({ id, mac, network, device, model, standby }: Vm['nics'][number]): string {
  const direct = device === null ? 'no direct device' : `${device} (${model ?? 'unknown model'})`;
  return `${id}  ${mac}  on ${network}, ${direct}, standby ${standby}`;
}

/** All VMs, a line each. */
export function renderVms(vms: readonly Vm[]): string {
  if (vms.length === 0) return 'This host knows no VM.\n';
  const width = Math.max(...vms.map(({ name }) => name.length));
  const lines = vms.map(({ name, state, why, busy, memoryMiB, cpus, pid }) => {
    const about = [
      `${memoryMiB} MiB, ${cpus} ${cpus === 1 ? 'CPU' : 'CPUs'}`,
      ...(pid === null ? [] : [`process ${pid}`]),
      ...(why === null ? [] : [harmless(why)]),
      ...(busy === null ? [] : [`busy: ${harmless(busy)}`]),
    ];
    return `${name.padEnd(width)}  ${state.padEnd(8)}  ${about.join('; ')}`;
  });
  return `${lines.join('\n')}\n`;
}

/** One VM, with what can be done with it. */
export function renderVm(vm: VmDetail): string {
  const { name, host, state, why, busy, pid, epoch, origin, machine, memoryMiB, cpus, nics, adopted } = vm;
  const field = (key: string, value: string | number | null) =>
    value === null ? [] : [`  ${key.padEnd(9)} ${harmless(String(value))}`];
  const abilities = (adopted?.abilities ?? []).map(
    ({ what, can, reason }) => `  ${can ? 'can' : 'cannot'} ${what}: ${harmless(reason)}`,
  );
  return `${[
    `${name} on ${host}`,
    ...field('state', why === null ? state : `${state} (${why})`),
    ...field('busy', busy),
    ...field('process', pid),
    ...field('epoch', epoch),
    ...field('origin', adopted === null ? origin : `adopted from ${adopted.socket}`),
    ...field('machine', machine),
    ...field('memory', `${memoryMiB} MiB`),
    ...field('CPUs', cpus),
    ...nics.map((nic) => `  ${nicText(nic)}`),
    ...abilities,
  ].join('\n')}\n`;
}
