import { CATALOGUE, type ErrorKind, KINDS } from '../src/errors.ts';

/** What each kind means, for the page. */
const MEANINGS: Record<ErrorKind, string> = {
  input: 'What was asked for is not right. Nothing was changed.',
  missing: 'Something is not there: on this machine, in QEMU, or in the guest.',
  refused: 'Someone said no: QEMU, the guest, or Shadowferry itself.',
  failed: 'It was tried and did not work.',
  timeout: 'It took longer than it may.',
  cancelled: 'The user stopped it.',
  degraded: 'The VM runs, but not with all that it should have.',
  internal: 'A defect of Shadowferry.',
};

/** Text for a table or paragraph: names in braces as code, nothing that Markdown would read. */
function markdown(text: string): string {
  return text
    .split(/(\{\w+\})/)
    .map((part) =>
      /^\{\w+\}$/.test(part) ? `*${part.slice(1, -1)}*` : part.replaceAll(/[\\`*_<>|]/g, '\\$&'),
    )
    .join('');
}

/** The whole of docs/errors.md, from the catalogue. Pure. */
export function errorsPage(): string {
  const kinds = Object.entries(KINDS).map(([kind, { exit, status }]) => ({ kind, exit, status }));
  const rows = kinds.map(({ kind, exit, status }) => `| [${kind}](#${kind}) | ${exit} | ${status} |`);
  const sections = Object.entries(MEANINGS).flatMap(([kind, meaning]) => {
    const entries = Object.entries(CATALOGUE).filter(([, entry]) => entry.kind === kind);
    return [
      `## ${kind}`,
      meaning,
      ...entries.flatMap(([code, entry]) => [
        `### ${code}`,
        `What happened: ${markdown(entry.what)}.`,
        `What to do: ${markdown(entry.fix)}`,
      ]),
    ];
  });
  return `${[
    '<!-- Made from src/errors.ts by scripts/gen-errors.ts: change it there. -->',
    '# Errors',
    'Every error has a code that stays the same, a sentence that says what happened, and one that says what to do. ' +
      'The command line prints both and ends with the exit code of the error’s kind; with `--json` the last line ' +
      'is `{"type":"error","code":…,"kind":…,"message":…,"fix":…,"params":…}`. The API answers with the same object ' +
      'and the HTTP status. Words in *italics* stand for values.',
    ['| kind | exit code | HTTP status |', '| --- | --- | --- |', ...rows].join('\n'),
    ...sections,
  ].join('\n\n')}\n`;
}
