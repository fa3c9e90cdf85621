/** A guest that has our own command line in it: the pinned Node with its libraries, the compiled code, its packages. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, createWriteStream, globSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { exec } from '../../src/base/exec.ts';
import { type CpioEntry, cpioArchive } from '../../src/lab/image/cpio.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Where it is in the guest. */
const PLACE = 'opt/shadowferry';

/** Words that run our command line in the guest. By its own loader, as the guest's libraries are other ones. */
export const CLI_IN_GUEST = [
  `/${PLACE}/lib/ld-linux-x86-64.so.2`,
  ...['--library-path', `/${PLACE}/lib`],
  ...[`/${PLACE}/node`, '--disable-warning=ExperimentalWarning', `/${PLACE}/dist/cli.js`],
] as const;

/** The libraries that a program of this machine loads, its loader with them. */
function librariesOf(program: string): string[] {
  const text = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...text.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? '');
}

/** Packages that the code needs when it runs, with what they need. */
function packages(): string[] {
  const found = new Set<string>();
  const add = (name: string) => {
    if (found.has(name)) return;
    found.add(name);
    const manifest: { dependencies?: Record<string, string> } = JSON.parse(
      readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'),
    );
    for (const each of Object.keys(manifest.dependencies ?? {})) add(each);
  };
  const own: { dependencies: Record<string, string> } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  );
  for (const name of Object.keys(own.dependencies)) add(name);
  return [...found];
}

/** Files by their path in the archive; the directories above them come with them. */
function entriesOf(files: ReadonlyMap<string, string>): CpioEntry[] {
  const directories = new Set<string>();
  for (const path of files.keys()) {
    const parts = path.split('/').slice(0, -1);
    for (const [n] of parts.entries()) directories.add(parts.slice(0, n + 1).join('/'));
  }
  return [
    ...[...directories].toSorted().map((path): CpioEntry => ({ type: 'directory', path })),
    ...[...files].map(
      ([path, from]): CpioEntry => ({ type: 'file', path, mode: 0o755, content: readFileSync(from) }),
    ),
  ];
}

/** Writes an initial file system that is a guest's own with our command line added; returns its path. */
export async function initrdWithCli(initrd: string, directory: string): Promise<string> {
  const dist = join(directory, 'dist');
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
  await exec(
    [process.execPath, compiler, '-p', join(ROOT, 'scripts/tsconfig.build.json'), '--outDir', dist],
    { cwd: ROOT },
  );
  const files = new Map<string, string>();
  const put = (path: string, from: string) => files.set(`${PLACE}/${path}`, realpathSync(from));
  for (const entry of globSync('**/*', { cwd: dist, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    put(`dist/${path.slice(dist.length + 1)}`, path);
  }
  const source = join(ROOT, 'src');
  for (const entry of globSync('**/*.sh', { cwd: source, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    put(`dist/${path.slice(source.length + 1)}`, path);
  }
  for (const name of packages()) {
    const from = join(ROOT, 'node_modules', name);
    for (const entry of globSync('**/*.{js,cjs,mjs,json}', { cwd: from, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      put(`node_modules/${name}/${path.slice(from.length + 1)}`, path);
    }
  }
  put('package.json', join(ROOT, 'package.json'));
  const node = realpathSync(process.execPath);
  put('node', node);
  for (const library of librariesOf(node)) put(`lib/${basename(library)}`, library);

  const target = join(directory, 'initrd-with-cli');
  copyFileSync(initrd, target);
  const out = createWriteStream(target, { flags: 'a' });
  // the kernel takes archives one after the other, each at a multiple of four
  out.write(Buffer.alloc((4 - (statSync(initrd).size % 4)) % 4));
  for (const part of cpioArchive(entriesOf(files))) out.write(part);
  out.end();
  await new Promise<void>((resolve, reject) => {
    out.once('finish', resolve);
    out.once('error', reject);
  });
  return target;
}
