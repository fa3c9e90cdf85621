/**
 * The table of what a shadow is made of: for each attribute where it is read, how it is replayed, what adaptation
 * means and what makes it a loss. docs/shadow.md is made from it, and a lab test walks it in a real guest.
 */

export interface AttributeRow {
  /** Key of the attribute as `attributesOf` spells it; `*` stands for any text. */
  attribute: string;
  what: string;
  read: string;
  replay: string;
  /** What happens when the new device cannot have the same; `—` where that cannot be. */
  adapted: string;
  /** When it is lost; `—` where that cannot be. */
  lost: string;
}

export interface AttributeGroup {
  title: string;
  intro: string;
  rows: AttributeRow[];
}

type Shared = Pick<AttributeRow, 'read' | 'replay' | 'adapted' | 'lost'>;

/** A group whose rows say only what differs from what they share. */
export function group(options: {
  title: string;
  intro: string;
  shared: Shared;
  rows: readonly (Pick<AttributeRow, 'attribute' | 'what'> & Partial<Shared>)[];
}): AttributeGroup {
  const { title, intro, shared } = options;
  return { title, intro, rows: options.rows.map((row) => ({ ...shared, ...row })) };
}

/** Whether a row's pattern names this key. */
export function matches(pattern: string, key: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  if (!key.startsWith(first)) return false;
  let at = first.length;
  for (const [index, part] of rest.entries()) {
    if (index === rest.length - 1) return key.length >= at + part.length && key.endsWith(part);
    const found = key.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at === key.length;
}

/** The row of a key: of several that match, the one that says most. */
export function rowFor(groups: readonly AttributeGroup[], key: string): AttributeRow | undefined {
  return groups
    .flatMap((each) => each.rows)
    .filter((row) => matches(row.attribute, key))
    .toSorted((a, b) => b.attribute.replaceAll('*', '').length - a.attribute.replaceAll('*', '').length)[0];
}
