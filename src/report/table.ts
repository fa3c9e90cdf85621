/** One way to make a table, so that all keep their names and headers when phones stack their cells. */
import { type Markup, markup, type Part } from './markup.ts';

export interface Column {
  title: string;
  /** `number` aligns right with even digits, `code` is monospaced, `wide` takes the room that is left. */
  kind?: 'number' | 'code' | 'wide';
}

/**
 * A table with a caption and column headers. Roles are given explicitly because the style for phones shows rows as
 * blocks, which would take the meaning of a table away from assistive programs.
 */
export function table(caption: string, columns: readonly Column[], rows: readonly Part[][]): Markup {
  const head = columns.map(
    (column) =>
      markup`<th role="columnheader" scope="col" class="${column.kind ?? 'text'}">${column.title}</th>`,
  );
  const body = rows.map(
    (row) =>
      markup`<tr role="row">${row.map((cell, index) => {
        const column = columns[index];
        return markup`<td role="cell" class="${column?.kind ?? 'text'}" data-label="${column?.title}">${cell}</td>`;
      })}</tr>
`,
  );
  return markup`<table role="table"><caption>${caption}</caption><thead role="rowgroup"><tr role="row">${head}</tr></thead><tbody role="rowgroup">
${body}</tbody></table>`;
}
