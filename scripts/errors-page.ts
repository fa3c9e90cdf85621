import { CATALOGUE, type ErrorCode, type ErrorKind, KINDS, statusOf } from '../src/errors.ts';

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
    const codes = Object.keys(CATALOGUE).filter((code): code is ErrorCode => code in CATALOGUE);
    const entries = codes
      .map((code) => {
        const { kind: its, what, fix } = CATALOGUE[code];
        const status = statusOf(code);
        return {
          code,
          kind: its,
          what,
          fix,
          own: status === KINDS[its].status ? '' : ` (HTTP status ${status}.)`,
        };
      })
      .filter((entry) => entry.kind === kind);
    return [
      `## ${kind}`,
      meaning,
      ...entries.flatMap(({ code, what, fix, own }) => [
        `### ${code}`,
        `What happened: ${markdown(what)}.`,
        `What to do: ${markdown(fix)}${own}`,
      ]),
    ];
  });
  return `${[
    '<!-- Made from src/errors.ts by scripts/gen-errors.ts: change it there. -->',
    '# Errors',
    'Every error has a code that stays the same, a sentence that says what happened, and one that says what to do. ' +
      'The command line prints both and ends with the exit code of the error’s kind; with `--json` the last line ' +
      'is `{"type":"error","code":…,"kind":…,"message":…,"fix":…,"params":…}`. The API answers with the same fields ' +
      'as a problem of RFC 9457 (see api.md) and the HTTP status of the kind, or the one that stands beside the ' +
      'error. Words in *italics* stand for values.',
    ['| kind | exit code | HTTP status |', '| --- | --- | --- |', ...rows].join('\n'),
    ...sections,
  ].join('\n\n')}\n`;
}
