/**
 * Writes archives in the `newc` cpio format that the kernel unpacks as its initial file system. Owners are
 * root and times are zero, so equal contents give equal bytes whoever builds them and device nodes need no rights.
 */

/** One file of an archive. Paths have no leading slash; parents come before their children. */
export type CpioEntry =
  | { type: 'directory'; path: string; mode?: number }
  | { type: 'file'; path: string; mode: number; content: Uint8Array }
  | { type: 'link'; path: string; target: string }
  | { type: 'node'; path: string; mode: number; major: number; minor: number };

const TYPE_BITS = { directory: 0o040000, file: 0o100000, link: 0o120000, node: 0o020000 } as const;
const TRAILER = 'TRAILER!!!';

function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

interface Fields {
  inode: number;
  mode: number;
  links: number;
  size: number;
  major: number;
  minor: number;
  path: string;
}

function header(fields: Fields): Buffer {
  const name = Buffer.from(`${fields.path}\0`, 'utf8');
  const numbers = [fields.inode, fields.mode, 0, 0, fields.links, 0, fields.size, 0, 0];
  const device = [fields.major, fields.minor, name.length, 0];
  const head = Buffer.from(`070701${[...numbers, ...device].map(hex).join('')}`, 'ascii');
  return Buffer.concat([head, name, padding(head.length + name.length)]);
}

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.type === 'file') return entry.content;
  if (entry.type === 'link') return Buffer.from(entry.target, 'utf8');
  return new Uint8Array();
}

function modeOf(entry: CpioEntry): number {
  if (entry.type === 'link') return TYPE_BITS.link | 0o777;
  return TYPE_BITS[entry.type] | (entry.type === 'directory' ? (entry.mode ?? 0o755) : entry.mode);
}

/** The archive as a list of pieces to be written in order; concatenated they are the file. */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let inode = 1;
  for (const entry of entries) {
    const content = contentOf(entry);
    const device = entry.type === 'node' ? entry : { major: 0, minor: 0 };
    pieces.push(
      header({
        inode: inode++,
        mode: modeOf(entry),
        links: entry.type === 'directory' ? 2 : 1,
        size: content.length,
        major: device.major,
        minor: device.minor,
        path: entry.path,
      }),
      content,
      padding(content.length),
    );
  }
  pieces.push(header({ inode: 0, mode: 0, links: 1, size: 0, major: 0, minor: 0, path: TRAILER }));
  return pieces;
}
