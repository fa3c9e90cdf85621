/** Says what is wrong with a configuration: where it stands, the line, and what is allowed there. Pure. */
import { isCollection, isMap, isNode, isPair, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import type { z } from 'zod';
import { nearest } from '../../base/nearest.ts';

export interface Problem {
  /** From 1. */
  line: number;
  column: number;
  /** Characters that are meant, on that line. */
  length: number;
  text: string;
}

type Path = readonly PropertyKey[];
type Range = readonly [start: number, end: number];

export interface ReadYaml {
  value: unknown;
  /** Of the syntax; there is no value then. */
  problems: Problem[];
  /** Where something stands: its key, or its value, or the nearest thing above it that is there. */
  at: (path: Path, what: 'key' | 'value') => Range;
  problem: (range: Range, text: string) => Problem;
}

function rangeOf(node: unknown): Range | undefined {
  const range = isNode(node) ? node.range : undefined;
  return range === undefined || range === null ? undefined : [range[0], Math.max(range[1], range[0] + 1)];
}

/** Reads YAML 1.2 without tags and aliases that could make much of little. */
export function readYaml(text: string): ReadYaml {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    uniqueKeys: true,
  });
  const problem = ([start, end]: Range, what: string): Problem => {
    const { line, col } = lines.linePos(start);
    return {
      line: Math.max(1, line),
      column: Math.max(1, col),
      length: Math.max(1, end - start),
      text: what,
    };
  };
  const at = (path: Path, what: 'key' | 'value'): Range => {
    let node: Node | null = document.contents;
    let best = rangeOf(node) ?? [0, 1];
    for (const [depth, key] of path.entries()) {
      if (!isCollection(node)) break;
      const pair: unknown = isMap(node)
        ? node.items.find((item) => (isScalar(item.key) ? item.key.value : item.key) === key)
        : undefined;
      const value: unknown = isPair(pair) ? pair.value : isMap(node) ? undefined : node.get(key, true);
      const keyRange = isPair(pair) ? rangeOf(pair.key) : undefined;
      const last = depth === path.length - 1;
      const range = (last && what === 'key' ? keyRange : undefined) ?? rangeOf(value) ?? keyRange;
      if (range === undefined) break;
      best = range;
      node = isNode(value) ? value : null;
    }
    return best;
  };
  const problems = [...document.errors, ...document.warnings].map(({ pos, message }) =>
    problem([pos[0], Math.max(pos[1], pos[0] + 1)], message),
  );
  if (problems.length > 0) return { value: undefined, problems, at, problem };
  try {
    return { value: document.toJS({ maxAliasCount: 20 }), problems, at, problem };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { value: undefined, problems: [problem([0, 1], why)], at, problem };
  }
}

/** The text of one thing that a schema found. */
function describe(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_value':
      return `must be one of: ${issue.values.map(String).join(', ')}`;
    case 'invalid_type':
      return issue.input === undefined && issue.message.includes('undefined')
        ? `is missing; it is a ${issue.expected}`
        : `must be a ${issue.expected}`;
    case 'too_small':
      return `must be at least ${issue.minimum}`;
    case 'too_big':
      return `must be at most ${issue.maximum}`;
    case 'invalid_format':
    case 'custom':
      return /^Invalid/.test(issue.message)
        ? `is not right: ${issue.message}`
        : `is not right: ${issue.message}`;
    default:
      return issue.message;
  }
}

/** The keys that a mapping may have, where the schema says it. */
export type KeysAt = (path: Path) => readonly string[];

/** The problems that a schema found, in the order of the file. */
export function schemaProblems(
  yaml: ReadYaml,
  issues: readonly z.core.$ZodIssue[],
  keysAt: KeysAt,
): Problem[] {
  const problems = issues.flatMap((issue): Problem[] => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => {
        const known = keysAt(issue.path);
        const meant = nearest(key, known);
        const hint = meant === undefined ? '' : `; did you mean "${meant}"?`;
        const allowed = known.length === 0 ? '' : ` (known here: ${known.join(', ')})`;
        return yaml.problem(yaml.at([...issue.path, key], 'key'), `unknown key "${key}"${hint}${allowed}`);
      });
    }
    if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      // what comes nearest to being right is what was meant
      const fewest = issue.errors.toSorted((a, b) => unionCost(a) - unionCost(b))[0] ?? [];
      const below = fewest.map((each) => ({ ...each, path: [...issue.path, ...each.path] }));
      return schemaProblems(yaml, below, keysAt);
    }
    if (issue.code === 'invalid_key') {
      const inner = issue.issues.map(describe).join('; ');
      return [yaml.problem(yaml.at(issue.path, 'key'), `the name "${String(issue.path.at(-1))}" ${inner}`)];
    }
    const name = issue.path.map(String).join('.') || 'the configuration';
    return [yaml.problem(yaml.at(issue.path, 'value'), `${name} ${describe(issue)}`)];
  });
  return problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
}

/** Unknown keys weigh less than what is missing or wrong: they are the sign of another alternative. */
function unionCost(issues: readonly z.core.$ZodIssue[]): number {
  return issues.reduce(
    (sum, issue) => sum + (issue.code === 'unrecognized_keys' ? issue.keys.length * 2 : 1),
    0,
  );
}

/** As compilers say it: `FILE:LINE:COLUMN: what`, the line, and a caret below what is meant. */
export function renderProblems(file: string, text: string, problems: readonly Problem[]): string {
  const lines = text.split('\n');
  return problems
    .map(({ line, column, length, text: what }) => {
      const source = (lines[line - 1] ?? '').replaceAll('\t', ' ').replace(/\r$/, '');
      const number = `${line} | `;
      const marks = '^'.repeat(Math.max(1, Math.min(length, source.length - column + 1)));
      const caret = `${' '.repeat(number.length + column - 1)}${marks}`;
      return `${file}:${line}:${column}: ${what}\n    ${number}${source}\n    ${caret}`;
    })
    .join('\n');
}
