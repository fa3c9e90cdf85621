import { posix } from 'node:path';
import { type ImportFact, scanImports } from './import-scan.ts';

/** Sources by their path from the checkout, with `/`. */
export type Tree = ReadonlyMap<string, string>;

export interface Violation {
  file: string;
  line: number;
  rule: string;
}

/**
 * The parts of src, the highest first; a part may import from lower rows only. Parts of one row do not know each
 * other. `lab` is on a row of its own because it drives migrations but is no part of the product.
 */
const ROWS: readonly (readonly string[])[] = [
  ['cli.ts'],
  ['commands'],
  ['lab'],
  ['daemon'],
  ['report'],
  ['observe'],
  ['migration'],
  ['shadow', 'memory', 'storage', 'protection', 'ownership'],
  ['hypervisor', 'host'],
  ['guest'],
  ['base'],
  ['errors.ts'],
];

/** Parts that only these others may import, whatever their row. */
const ONLY_FOR: Readonly<Record<string, readonly string[]>> = {
  lab: ['commands'],
  report: ['commands', 'lab'],
};

/**
 * Parts that may import only these others: wholly, or their types. A `…model.ts` counts as types: it is the shape
 * of data with its zod schema, and nothing that acts.
 */
const ONLY_FROM: Readonly<Record<string, { code: readonly string[]; types: readonly string[] }>> = {
  report: { code: ['base', 'errors.ts'], types: ['migration', 'shadow'] },
};

/** The part a source belongs to (`migration`, `errors.ts`, …); undefined outside src. */
function partOf(file: string): string | undefined {
  if (!file.startsWith('src/')) return undefined;
  // errors.test.ts is a test of errors.ts, and of its row.
  return file.split('/')[1]?.replace(/\.test\.ts$/, '.ts');
}

function rowOf(part: string): number {
  return ROWS.findIndex((row) => row.includes(part));
}

/** Why `from` may not import `to`; undefined when it may. */
function directionRule(from: string, to: string, typeOnly: boolean): string | undefined {
  if (from === to) return undefined;
  const limits = ONLY_FROM[from];
  if (limits) {
    if (limits.code.includes(to)) return undefined;
    if (limits.types.includes(to)) {
      return typeOnly ? undefined : `${from} may import only types from ${to}`;
    }
    return `${from} may import only ${limits.code.join(', ')} and types of ${limits.types.join(', ')}, not ${to}`;
  }
  const allowed = ONLY_FOR[to];
  if (allowed && !allowed.includes(from))
    return `only ${allowed.join(' and ')} may import ${to}, not ${from}`;
  const [fromRow, toRow] = [rowOf(from), rowOf(to)];
  if (toRow > fromRow) return undefined;
  if (toRow === fromRow) return `${from} and ${to} are side by side and may not import each other`;
  return `${to} is above ${from}, and imports go down only`;
}

/** The file that a relative specifier of `file` names; undefined for packages and built-in modules. */
function resolve(file: string, specifier: string): string | undefined {
  return specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier) : undefined;
}

function checkImport(file: string, fact: ImportFact): Violation | undefined {
  const target = resolve(file, fact.specifier);
  const from = partOf(file);
  if (target === undefined || from === undefined) return undefined; // tests, benchmarks, scripts import what they like
  const to = partOf(target);
  if (to === undefined) {
    // The version stands in package.json, which lies beside both src and dist.
    if (target === 'package.json') return undefined;
    return { file, line: fact.line, rule: `src may not import ${target}, which is outside src` };
  }
  if (rowOf(to) < 0) return { file, line: fact.line, rule: `${to} has no row in the table of parts` };
  const rule = directionRule(from, to, fact.typeOnly || target.endsWith('model.ts'));
  return rule === undefined ? undefined : { file, line: fact.line, rule };
}

/** The shortest way along imports from `start` back to itself. */
function cycleThrough(start: string, edges: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const file of queue) {
    for (const next of edges.get(file) ?? []) {
      if (next === start) {
        const path = [file];
        for (let at = cameFrom.get(file); at !== undefined; at = cameFrom.get(at)) path.unshift(at);
        return path;
      }
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, file);
      queue.push(next);
    }
  }
  return undefined;
}

/** Each cycle of imports that exist when the code runs, once, reported at its alphabetically first file. */
function findCycles(imports: ReadonlyMap<string, readonly ImportFact[]>): Violation[] {
  const edges = new Map<string, string[]>();
  for (const [file, facts] of imports) {
    const targets = facts
      .filter((fact) => !fact.typeOnly)
      .map((fact) => resolve(file, fact.specifier))
      .filter((target) => target !== undefined && imports.has(target));
    edges.set(
      file,
      targets.filter((target) => target !== undefined),
    );
  }
  const reported = new Set<string>();
  const violations: Violation[] = [];
  for (const file of [...imports.keys()].sort()) {
    if (reported.has(file)) continue;
    const cycle = cycleThrough(file, edges);
    if (!cycle) continue;
    for (const member of cycle) reported.add(member);
    const second = cycle[1] ?? file;
    const line =
      (imports.get(file) ?? []).find((fact) => resolve(file, fact.specifier) === second)?.line ?? 1;
    violations.push({ file, line, rule: `import cycle: ${[...cycle, file].join(' → ')}` });
  }
  return violations;
}

/** Everything in a tree of sources that breaks the rules, by file and line. */
export function checkTree(tree: Tree): Violation[] {
  const imports = new Map([...tree].map(([file, source]) => [file, scanImports(source)]));
  const violations: Violation[] = [];
  for (const [file, facts] of imports) {
    const part = partOf(file);
    if (part !== undefined && rowOf(part) < 0) {
      violations.push({ file, line: 1, rule: `${part} has no row in the table of parts` });
      continue;
    }
    for (const fact of facts) {
      const violation = checkImport(file, fact);
      if (violation) violations.push(violation);
    }
  }
  violations.push(...findCycles(imports));
  return violations.sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line));
}
