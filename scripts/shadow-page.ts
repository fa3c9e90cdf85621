import { TABLE } from '../src/shadow/net/table/table.ts';

const BEGIN = '<!-- table: made from src/shadow/net/table by scripts/gen-shadow.ts -->';
const END = '<!-- end of table -->';

const cell = (text: string): string => text.replaceAll('|', '\\|');

function tableText(): string {
  const parts = TABLE.flatMap(({ title, intro, rows }) => [
    `### ${title}`,
    '',
    intro,
    '',
    '| attribute | what | read | replayed | adapted | lost |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows.map(
      (row) =>
        `| \`${row.attribute}\` | ${[row.what, row.read, row.replay, row.adapted, row.lost].map(cell).join(' | ')} |`,
    ),
    '',
  ]);
  return [BEGIN, '', ...parts, END].join('\n');
}

/** docs/shadow.md with its table made anew. Pure. @throws RangeError when the page has no place for it. */
export function shadowPage(page: string): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from) throw new RangeError('docs/shadow.md has no place for the table');
  return page.slice(0, from) + tableText() + page.slice(to + END.length);
}
