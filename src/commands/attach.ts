/** `shadowferry attach`: tries again to give a degraded VM its direct device. */
import type { Command } from 'commander';
import { type Reattached, reattach } from '../migration/reattach.ts';
import { Limits } from '../migration/request.ts';
import { summary } from '../shadow/net/verify.ts';
import { print, say, wholeNumber } from './options.ts';
import { withVm } from './standing-vm.ts';

function render(name: string, { action, reason, device, outcomes }: Reattached): string {
  if (action === 'none' || device === undefined) return `Nothing is missing: ${reason}.`;
  const lines = [
    `VM ${name} has its device ${device.id} (${device.model}, driver ${device.driver}); ${reason}.`,
    `  ${summary(outcomes).text}`,
  ];
  for (const outcome of outcomes) {
    const { key } = outcome;
    if (outcome.fate === 'adapted')
      lines.push(`  adapted: ${key} ${outcome.value} → ${outcome.now}: ${outcome.how}`);
    if (outcome.fate === 'lost') lines.push(`  lost: ${key}: ${outcome.why}`);
  }
  return lines.join('\n');
}

function line(
  vm: string,
  { action, reason, migration, device, outcomes }: Reattached,
): Record<string, unknown> {
  const { captured, restored } = summary(outcomes);
  return {
    type: 'attached',
    ok: true,
    vm,
    action,
    reason,
    migration: migration ?? null,
    device: device ?? null,
    shadow: {
      captured,
      restored,
      adapted: outcomes.filter(({ fate }) => fate === 'adapted'),
      lost: outcomes.filter(({ fate }) => fate === 'lost'),
    },
  };
}

async function attach(name: string, options: { json?: boolean; limit?: number }): Promise<void> {
  const limits = Limits.parse(options.limit === undefined ? {} : { attachMs: options.limit });
  const nothing = () => {};
  await withVm(name, nothing, async ({ journal, ownership, abilities }, vm) => {
    const done = await reattach({ vm, journal, ownership, abilities, limits, say });
    print(options.json ? JSON.stringify(line(name, done)) : render(name, done));
  });
}

export function registerAttach(program: Command): void {
  program
    .command('attach')
    .description('give a VM the direct device that a migration could not give it')
    .argument('<vm>')
    .option('--limit <ms>', 'longest wait for traffic on the device', wholeNumber('--limit', 1))
    .option('--json', 'print one line of JSON')
    .action(attach);
}
