/**
 * Takes the plain kernel out of Debian's compressed one. QEMU starts a plain ELF kernel with a PVH entry directly;
 * a compressed one first unpacks itself in the guest, which takes longer under TCG than all the rest of the boot.
 */
import { gunzipSync, zstdDecompressSync } from 'node:zlib';

/** Unpacks an xz stream; Node has no xz of its own. */
export type Unxz = (packed: Uint8Array) => Promise<Uint8Array>;

const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const PT_NOTE = 4;

/** The compressed kernel inside a bzImage (x86 boot protocol 2.08 and later), or undefined when this is none. */
export function bzImagePayload(image: Uint8Array): Uint8Array | undefined {
  const view = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  if (view.length < 0x260 || view.toString('latin1', 0x202, 0x206) !== 'HdrS') return undefined;
  if (view.readUInt16LE(0x206) < 0x0208) return undefined;
  const setupSectors = view.readUInt8(0x1f1) || 4;
  const start = (setupSectors + 1) * 512 + view.readUInt32LE(0x248);
  const length = view.readUInt32LE(0x24c);
  if (start + length > view.length || length < 8) return undefined;
  return view.subarray(start, start + length);
}

/** True when an ELF kernel says by a note that it can be started by the PVH protocol. */
export function hasPvhEntry(elf: Uint8Array): boolean {
  const view = Buffer.from(elf.buffer, elf.byteOffset, elf.byteLength);
  if (view.length < 64 || view.toString('latin1', 0, 4) !== '\x7fELF' || view.readUInt8(4) !== 2)
    return false;
  const table = Number(view.readBigUInt64LE(32));
  const size = view.readUInt16LE(54);
  for (let i = 0; i < view.readUInt16LE(56); i++) {
    const at = table + i * size;
    if (at + 56 > view.length || view.readUInt32LE(at) !== PT_NOTE) continue;
    const offset = Number(view.readBigUInt64LE(at + 8));
    if (hasNote(view.subarray(offset, offset + Number(view.readBigUInt64LE(at + 32))))) return true;
  }
  return false;
}

function hasNote(notes: Buffer): boolean {
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameSize = notes.readUInt32LE(at);
    const name = notes.toString('latin1', at + 12, at + 12 + nameSize);
    if (name === 'Xen\0' && notes.readUInt32LE(at + 8) === XEN_ELFNOTE_PHYS32_ENTRY) return true;
    at += 12 + ((nameSize + 3) & ~3) + ((notes.readUInt32LE(at + 4) + 3) & ~3);
  }
  return false;
}

/**
 * The plain ELF kernel of a bzImage, or the image itself where it cannot be had (unknown compression, no PVH
 * entry): that one boots too, later.
 */
export async function plainKernel(image: Uint8Array, unxz: Unxz): Promise<Uint8Array> {
  const payload = bzImagePayload(image);
  if (!payload) return image;
  const packed = payload.subarray(0, payload.length - 4); // the last four bytes are the unpacked size
  const elf = await unpack(packed, unxz);
  return elf && hasPvhEntry(elf) ? elf : image;
}

async function unpack(packed: Uint8Array, unxz: Unxz): Promise<Uint8Array | undefined> {
  const magic = Buffer.from(packed.subarray(0, 4)).toString('hex');
  if (magic === 'fd377a58') return unxz(packed);
  if (magic === '28b52ffd') return zstdDecompressSync(packed);
  if (magic.startsWith('1f8b')) return gunzipSync(packed);
  return undefined;
}
