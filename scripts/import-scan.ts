/** One import or re-export of a module. */
export interface ImportFact {
  specifier: string;
  /** Line of the specifier, from 1. */
  line: number;
  /** It is erased before the code runs: `import type …`, `export type … from`. */
  typeOnly: boolean;
}

interface Token {
  kind: 'word' | 'string' | 'punctuation' | 'other';
  text: string;
  line: number;
}

/** Words after which a slash begins a regular expression and not a division. */
const BEFORE_REGEX = new Set(
  'return typeof instanceof in of new delete void throw case do else yield await'.split(' '),
);

/** A slash after a value divides; anywhere else it begins a regular expression. */
function slashIsRegex(previous: Token | undefined): boolean {
  if (!previous) return true;
  if (previous.kind === 'word') return BEFORE_REGEX.has(previous.text);
  if (previous.kind === 'punctuation') return !/^[)\]}]$/.test(previous.text);
  return false;
}

const REGEX = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const PATTERNS: readonly (readonly [Token['kind'] | 'skip', RegExp])[] = [
  ['skip', /\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/|#![^\n]*/y],
  ['string', /'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y],
  ['word', /[\p{ID_Start}$_#][\p{ID_Continue}$]*/uy],
  ['other', /\d[\w.]*/y],
  ['punctuation', /[\s\S]/y],
];

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

/**
 * Divides TypeScript into as much of tokens as it takes to find imports: comments go, and text inside strings,
 * templates and regular expressions is never taken for code (code inside `${}` is).
 */
function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  /** For each open template, how many braces are open inside its current `${`. */
  const templates: number[] = [];
  let line = 1;
  let at = 0;
  const push = (kind: Token['kind'], text: string): void => {
    tokens.push({ kind, text, line });
  };
  const advance = (text: string): void => {
    line += text.split('\n').length - 1;
    at += text.length;
  };
  /** Passes over template text up to its end or to the next `${`. */
  const template = (): void => {
    const text = match(/(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{|$)/y, source, at) ?? '';
    push('other', '`');
    advance(text);
    if (text.endsWith('${')) templates.push(0);
  };
  while (at < source.length) {
    const char = source[at];
    const depth = templates.at(-1);
    if (char === '`') {
      advance('`');
      template();
      continue;
    }
    if (depth !== undefined && char === '}' && depth === 0) {
      templates.pop();
      advance('}');
      template();
      continue;
    }
    if (depth !== undefined && (char === '{' || char === '}')) {
      templates[templates.length - 1] = depth + (char === '{' ? 1 : -1);
    }
    const regex =
      char === '/' && !/^\/[/*]/.test(source.slice(at, at + 2)) && slashIsRegex(tokens.at(-1))
        ? match(REGEX, source, at)
        : undefined;
    if (regex !== undefined) {
      push('other', regex);
      advance(regex);
      continue;
    }
    for (const [kind, pattern] of PATTERNS) {
      const text = match(pattern, source, at);
      if (text === undefined) continue;
      if (kind !== 'skip') push(kind, text);
      advance(text);
      break;
    }
  }
  return tokens;
}

/** The text of a string token; escapes do not occur in module specifiers. */
function unquote(token: Token): string {
  return token.text.slice(1, -1);
}

/**
 * Reads what follows `import` or `export` at `start` up to `from "…"`; undefined when it is no such statement.
 */
function readFrom(tokens: readonly Token[], start: number): ImportFact | undefined {
  const first = tokens[start];
  const second = tokens[start + 1];
  // `import type from './x'` binds the name `type`; `import type X from`, `import type {`, `export type *` do not.
  const typeOnly =
    first?.text === 'type' &&
    second !== undefined &&
    (second.text !== 'from' || tokens[start + 2]?.kind === 'word') &&
    second.text !== ',';
  for (let i = start; i < tokens.length; i++) {
    const token = tokens[i];
    const next = tokens[i + 1];
    if (!token) return undefined;
    if (token.text === 'from' && next?.kind === 'string') {
      return { specifier: unquote(next), line: next.line, typeOnly };
    }
    // Between the keyword and `from` there are only names (or strings that rename them), braces, commas, a star.
    if (token.kind === 'other' || (token.kind === 'punctuation' && !/^[{},*]$/.test(token.text)))
      return undefined;
    if (token.kind === 'word' && i > start && /^(import|export|const|let|function|class)$/.test(token.text)) {
      return undefined;
    }
  }
  return undefined;
}

/** What `import` at index `i` imports, static or dynamic. */
function readImport(tokens: readonly Token[], i: number): ImportFact | undefined {
  const next = tokens[i + 1];
  if (next?.kind === 'string') return { specifier: unquote(next), line: next.line, typeOnly: false };
  if (next?.text === '(') {
    const argument = tokens[i + 2];
    if (argument?.kind !== 'string') return undefined; // computed: nothing to be known here
    return { specifier: unquote(argument), line: argument.line, typeOnly: tokens[i - 1]?.text === 'typeof' };
  }
  return readFrom(tokens, i + 1);
}

/** All imports and re-exports of a TypeScript source, in order. */
export function scanImports(source: string): ImportFact[] {
  const tokens = tokenize(source);
  const facts: ImportFact[] = [];
  tokens.forEach((token, i) => {
    if (token.kind !== 'word' || tokens[i - 1]?.text === '.') return;
    const fact =
      token.text === 'import'
        ? readImport(tokens, i)
        : token.text === 'export'
          ? readFrom(tokens, i + 1)
          : undefined;
    if (fact) facts.push(fact);
  });
  return facts;
}
