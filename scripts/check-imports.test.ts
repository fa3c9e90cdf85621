import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkTree } from './import-rules.ts';
import { scanImports } from './import-scan.ts';

describe('scanImports', () => {
  const found = (source: string): string[] =>
    scanImports(source).map((fact) => `${fact.line}:${fact.specifier}${fact.typeOnly ? ' (type)' : ''}`);

  it('finds every form of import and re-export, with its line', () => {
    const source = [
      '#!/usr/bin/env node',
      "import './side-effect.ts';",
      "import a from './default.ts';",
      "import * as b from './star.ts';",
      'import {',
      '  c,',
      '  type D,',
      "} from './named.ts';",
      "import e, { f as g } from './both.ts';",
      "export * from './all.ts';",
      "export * as h from './all-as.ts';",
      "export { i } from './one.ts';",
      "const j = await import('./dynamic.ts');",
    ];
    assert.deepEqual(found(source.join('\n')), [
      '2:./side-effect.ts',
      '3:./default.ts',
      '4:./star.ts',
      '8:./named.ts',
      '9:./both.ts',
      '10:./all.ts',
      '11:./all-as.ts',
      '12:./one.ts',
      '13:./dynamic.ts',
    ]);
  });

  it('tells what is erased before the code runs', () => {
    assert.deepEqual(found("import type { A } from './a.ts'; export type { B } from './b.ts';"), [
      '1:./a.ts (type)',
      '1:./b.ts (type)',
    ]);
    assert.deepEqual(found("import type A from './a.ts'; export type * from './b.ts';"), [
      '1:./a.ts (type)',
      '1:./b.ts (type)',
    ]);
    assert.deepEqual(found("import type from './a.ts'; import type, { b } from './b.ts';"), [
      '1:./a.ts',
      '1:./b.ts',
    ]);
    assert.deepEqual(found("import type from from './a.ts';"), ['1:./a.ts (type)']);
    assert.deepEqual(found("type A = typeof import('./a.ts');"), ['1:./a.ts (type)']);
  });

  it('does not take text for code', () => {
    const source = [
      "// import './a.ts'",
      "/* import './b.ts'; */",
      'const s = "import \'./c.ts\'";',
      'const t = `',
      "import './d.ts';",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source code
      "${`import './e.ts'`} ${{ a: 1 }.a} import './f.ts'",
      '`;',
      "const r = /import '.\\/g.ts'/.test(s) && /[/'`]/;",
      "const url = new URL('./h.ts', import.meta.url);",
      "loader.import('./i.ts');",
      'const half = 4 / 2; const quote = "/";',
      'export const from = 1;',
      'export function f(from: string) { return from; }',
      "export default { from: './j.ts' };",
    ];
    assert.deepEqual(found(source.join('\n')), []);
  });

  it('finds code inside the holes of a template', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source code
    assert.deepEqual(found("const a = `x${(await import('./a.ts')).b}y`; import './c.ts';"), [
      '1:./a.ts',
      '1:./c.ts',
    ]);
  });
});

describe('checkTree', () => {
  const check = (tree: Record<string, string>): string[] =>
    checkTree(new Map(Object.entries(tree))).map(({ file, line, rule }) => `${file}:${line}: ${rule}`);

  it('accepts imports that go down, however far', () => {
    assert.deepEqual(
      check({
        'src/cli.ts': "import './commands/demo.ts'; import './errors.ts'; import p from '../package.json';",
        'src/commands/demo.ts':
          "import '../lab/lab.ts'; import '../report/page.ts'; import '../host/host.ts';",
        'src/lab/lab.ts': "import '../migration/engine.ts'; import '../report/page.ts'; import './other.ts';",
        'src/lab/other.ts': "import '../base/exec.ts';",
        'src/report/page.ts':
          "import type { R } from '../migration/result.ts'; import '../base/exec.ts'; import '../shadow/model.ts';",
        'src/migration/engine.ts': "import '../shadow/plan.ts'; import '../host/host.ts';",
        'src/shadow/plan.ts': "import '../hypervisor/qmp.ts';",
        'src/base/exec.ts': "import '../errors.ts'; import 'node:fs';",
        'test/lab/a.test.ts': "import '../../src/lab/lab.ts';",
        'bench/main.ts': "import '../src/lab/lab.ts';",
      }),
      [],
    );
  });

  it('names each import that goes up, with file, line and rule, even one of a type', () => {
    assert.deepEqual(
      check({
        'src/host/host.ts': "import a from 'x';\n\nimport type { B } from '../migration/engine.ts';",
        'src/errors.ts': "import '../src/base/exec.ts';",
        'src/daemon/api.ts': "import '../commands/demo.ts';",
      }),
      [
        'src/daemon/api.ts:1: commands is above daemon, and imports go down only',
        'src/errors.ts:1: base is above errors.ts, and imports go down only',
        'src/host/host.ts:3: migration is above host, and imports go down only',
      ],
    );
  });

  it('keeps parts of one row apart', () => {
    assert.deepEqual(check({ 'src/shadow/a.ts': "import '../memory/b.ts';" }), [
      'src/shadow/a.ts:1: shadow and memory are side by side and may not import each other',
    ]);
  });

  it('keeps the lab and the report out of the product', () => {
    assert.deepEqual(
      check({
        'src/daemon/a.ts': "import '../lab/lab.ts';\nimport '../report/page.ts';",
        'src/migration/b.ts': "import '../lab/lab.ts';",
        'src/report/c.ts': "import { run } from '../migration/engine.ts';\nimport '../host/host.ts';",
      }),
      [
        'src/daemon/a.ts:1: only commands may import lab, not daemon',
        'src/daemon/a.ts:2: only commands and lab may import report, not daemon',
        'src/migration/b.ts:1: only commands may import lab, not migration',
        'src/report/c.ts:1: report may import only types from migration',
        'src/report/c.ts:2: report may import only base, errors.ts and types of migration, shadow, not host',
      ],
    );
  });

  it('knows every part, and src knows nothing outside itself', () => {
    assert.deepEqual(
      check({
        'src/misc/a.ts': "import '../base/b.ts';",
        'src/base/c.ts': "import '../misc/a.ts';\nimport '../../scripts/d.ts';",
      }),
      [
        'src/base/c.ts:1: misc has no row in the table of parts',
        'src/base/c.ts:2: src may not import scripts/d.ts, which is outside src',
        'src/misc/a.ts:1: misc has no row in the table of parts',
      ],
    );
  });

  it('finds each circle of files once, by the shortest way round', () => {
    assert.deepEqual(
      check({
        'src/host/a.ts': "import './c.ts';\nimport './b.ts';",
        'src/host/b.ts': "import './a.ts';",
        'src/host/c.ts': "import './d.ts';",
        'src/host/d.ts': "import './a.ts';",
      }),
      [
        'src/host/a.ts:2: import cycle: src/host/a.ts → src/host/b.ts → src/host/a.ts',
        'src/host/c.ts:1: import cycle: src/host/c.ts → src/host/d.ts → src/host/a.ts → src/host/c.ts',
      ],
    );
    assert.deepEqual(check({ 'src/host/a.ts': "import './a.ts';" }), [
      'src/host/a.ts:1: import cycle: src/host/a.ts → src/host/a.ts',
    ]);
  });

  it('allows a circle that is erased before the code runs', () => {
    assert.deepEqual(
      check({ 'src/host/a.ts': "import './b.ts';", 'src/host/b.ts': "import type { A } from './a.ts';" }),
      [],
    );
  });
});
