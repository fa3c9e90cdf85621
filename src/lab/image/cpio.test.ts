import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type CpioEntry, cpioArchive } from './cpio.ts';

interface Read {
  path: string;
  mode: number;
  content: string;
  device: [number, number];
}

/** Reads an archive by the format's description, independent of the writer. */
function read(archive: Buffer): Read[] {
  const found: Read[] = [];
  for (let at = 0; ; ) {
    assert.equal(archive.toString('ascii', at, at + 6), '070701', `header at ${at}`);
    const field = (index: number) =>
      Number.parseInt(archive.toString('ascii', at + 6 + index * 8, at + 14 + index * 8), 16);
    const [size, nameSize] = [field(6), field(11)];
    const path = archive.toString('utf8', at + 110, at + 110 + nameSize - 1);
    const start = (at + 110 + nameSize + 3) & ~3;
    if (path === 'TRAILER!!!') return found;
    const content = archive.toString('latin1', start, start + size);
    found.push({ path, mode: field(1), content, device: [field(9), field(10)] });
    at = (start + size + 3) & ~3;
  }
}

describe('cpio archive', () => {
  it('gives back every path and content, of any length', () => {
    const entry = fc.record({
      path: fc
        .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
        .filter((path) => !path.includes('\0')),
      content: fc.uint8Array({ maxLength: 70 }),
      mode: fc.constantFrom(0o644, 0o755),
    });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 12 }), (entries) => {
        const archive = Buffer.concat(cpioArchive(entries.map((file) => ({ type: 'file', ...file }))));
        const expected = entries.map(({ path, mode, content }) => ({
          path,
          mode: 0o100000 | mode,
          content: Buffer.from(content).toString('latin1'),
          device: [0, 0],
        }));
        assert.deepEqual(read(archive), expected);
      }),
    );
  });

  it('writes directories, links and device nodes as the kernel expects them', () => {
    const entries: CpioEntry[] = [
      { type: 'directory', path: 'dev' },
      { type: 'node', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
      { type: 'link', path: 'init', target: 'usr/bin/busybox' },
    ];
    assert.deepEqual(read(Buffer.concat(cpioArchive(entries))), [
      { path: 'dev', mode: 0o040755, content: '', device: [0, 0] },
      { path: 'dev/console', mode: 0o020600, content: '', device: [5, 1] },
      { path: 'init', mode: 0o120777, content: 'usr/bin/busybox', device: [0, 0] },
    ]);
  });
});
