/** `shadowferry attach`: tries again to give a degraded VM its direct device. */
import type { Command } from 'commander';
import { type Reattached, reattach } from '../migration/reattach.ts';
import { Limits } from '../migration/request.ts';
import type { Outcome } from '../shadow/net/model.ts';
import { summary } from '../shadow/net/verify.ts';
import { print, say, wholeNumber } from './options.ts';
import { addRemoteOptions, remoteOf } from './remote.ts';
import { attachRemotely } from './remote-work.ts';
import { withVm } from './standing-vm.ts';

function render(name: string, { nics }: Reattached): string {
  const several = nics.length > 1;
  if (nics.every(({ action }) => action === 'none')) {
    const reasons = nics.map(({ nic, reason }) => (several ? `${nic}: ${reason}` : reason));
    return `Nothing is missing: ${reasons.join('; ') || `"${name}" has no direct device`}.`;
  }
  return nics
    .flatMap(({ nic, action, reason, device, outcomes }) => [
      action === 'none'
        ? `${nic}: nothing is missing: ${reason}.`
        : `VM ${name} has ${several ? `for ${nic} ` : ''}its device ${device.id} (${device.model}, driver ${device.driver ?? 'unknown'}); ${reason}.`,
      ...(action === 'none' ? [] : [`  ${summary(outcomes).text}`, ...outcomes.flatMap(outcomeLines)]),
    ])
    .join('\n');
}

function outcomeLines(outcome: Outcome): string[] {
  const { key } = outcome;
  switch (outcome.fate) {
    case 'restored':
      return [];
    case 'adapted':
      return [`  adapted: ${key} ${outcome.value} → ${outcome.now}: ${outcome.how}`];
    case 'lost':
      return [`  lost: ${key}: ${outcome.why}`];
    default:
      return outcome satisfies never;
  }
}

function shadowOf(outcomes: readonly Outcome[]) {
  const { captured, restored } = summary(outcomes);
  return {
    captured,
    restored,
    adapted: outcomes.filter(({ fate }) => fate === 'adapted'),
    lost: outcomes.filter(({ fate }) => fate === 'lost'),
  };
}

/** Of several NICs, `action` and `device` are those of the first for which anything was done. */
function line(vm: string, { migration, nics }: Reattached): Record<string, unknown> {
  const first = nics.find(({ action }) => action !== 'none') ?? nics[0];
  const device = first === undefined || first.action === 'none' ? null : { nic: first.nic, ...first.device };
  return {
    type: 'attached',
    ok: true,
    vm,
    action: first?.action ?? 'none',
    reason: first?.reason ?? 'it has no direct device',
    migration: migration ?? null,
    device,
    shadow: shadowOf(nics.flatMap(({ outcomes }) => outcomes)),
    nics: nics.map(({ outcomes, ...each }) => ({ ...each, shadow: shadowOf(outcomes) })),
  };
}

async function attach(
  name: string,
  options: { json?: boolean; limit?: number },
  command: Command,
): Promise<void> {
  const remote = await remoteOf(command);
  if (remote !== undefined)
    return attachRemotely(remote, name, { attachMs: options.limit, json: options.json ?? false });
  const limits = Limits.parse(options.limit === undefined ? {} : { attachMs: options.limit });
  const nothing = () => {};
  await withVm(name, nothing, async ({ journal, ownership, abilities, shadows }, vm) => {
    const done = await reattach({ vm, journal, ownership, abilities, shadows, limits, say });
    print(options.json ? JSON.stringify(line(name, done)) : render(name, done));
  });
}

export function registerAttach(program: Command): void {
  const command = program
    .command('attach')
    .description('give a VM the direct devices that a migration could not give it')
    .argument('<vm>')
    .option('--limit <ms>', 'longest wait for traffic on the device', wholeNumber('--limit', 1))
    .option('--json', 'print one line of JSON')
    .action(attach);
  addRemoteOptions(command);
}
