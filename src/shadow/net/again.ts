/**
 * What is done once more when every NIC of a VM is there: a route may lean on another NIC (its source address, or the
 * other hop of a multipath route), so whichever device came first could not have it yet. Pure.
 */
import { shellCommand, shellQuote } from '../../base/shell-quote.ts';
import type { Operation, ReplayPlan } from './plan-model.ts';

/** Words that mean the same to a batch parser as to an argument vector. */
const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

const IP = [
  'ip=ip',
  'for place in /usr/sbin /sbin /usr/bin /bin; do',
  '  if [ -x "$place/ip" ]; then ip=$place/ip; break; fi',
  'done',
].join('\n');

function parts({ argv }: Operation): { options: string[]; words: string[] } {
  const at = argv.findIndex((word) => !word.startsWith('-'));
  return at < 0 ? { options: argv, words: [] } : { options: argv.slice(0, at), words: argv.slice(at) };
}

/** Routes first: rules look them up. */
const KINDS = ['route', 'rule'];

/**
 * A shell script that does the routes and rules of the attach set again, which does no harm to those that are there;
 * empty when there are none. Few processes, however many routes.
 */
export function againScript(plan: Pick<ReplayPlan, 'sets'>): string {
  const batches = new Map<string, string[]>();
  const singles: string[] = [];
  for (const kind of KINDS) {
    for (const operation of plan.sets.attach) {
      const { options, words } = parts(operation);
      if (operation.tool !== 'ip' || words[0] !== kind) continue;
      if (words.every((word) => PLAIN.test(word))) {
        const key = shellCommand([...options, '-force', '-batch', '-']);
        batches.set(key, [...(batches.get(key) ?? []), words.join(' ')]);
      } else singles.push(`"$ip" ${shellCommand(operation.argv)} 2>/dev/null`);
    }
  }
  const lines = [...batches].map(
    ([options, each]) =>
      `printf '%s' ${shellQuote(`${each.join('\n')}\n`)} | "$ip" ${options} >/dev/null 2>&1`,
  );
  if (lines.length + singles.length === 0) return '';
  return `${[IP, ...lines, ...singles, 'exit 0'].join('\n')}\n`;
}
