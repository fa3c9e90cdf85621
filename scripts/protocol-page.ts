import { DESTINATION_RULES } from '../src/migration/protocol/destination-recovery.ts';
import { SOURCE_RULES } from '../src/migration/protocol/source-recovery.ts';

const BEGIN = '<!-- rules: made from src/migration/protocol by scripts/gen-protocol.ts -->';
const END = '<!-- end of rules -->';

interface Row {
  when: string;
  decision: { action: string; event?: string; reason: string };
}

function table(title: string, rules: readonly Row[]): string[] {
  return [
    `### ${title}`,
    '',
    '| | facts | action | reason |',
    '| --- | --- | --- | --- |',
    ...rules.map(({ when, decision: { action, event, reason } }, n) => {
      const what = event === undefined ? `\`${action}\`` : `note \`${event}\``;
      return `| ${n + 1} | ${when} | ${what} | ${reason} |`;
    }),
    '',
  ];
}

/** docs/protocol.md with its tables made anew. Pure. @throws RangeError when the page has no place for them. */
export function protocolPage(page: string): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from) throw new RangeError('docs/protocol.md has no place for the rules');
  const text = [
    BEGIN,
    '',
    ...table('The source’s daemon', SOURCE_RULES),
    ...table('The destination’s daemon', DESTINATION_RULES),
    END,
  ].join('\n');
  return page.slice(0, from) + text + page.slice(to + END.length);
}
