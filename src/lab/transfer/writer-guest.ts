/**
 * A guest that is nothing but a writer of memory: a boot sector of 512 bytes. It counts at one address, and writes what
 * a generator of pseudo-random numbers says to where it says, for ever. It runs within a second, also under an emulator.
 */
import { writeFileSync } from 'node:fs';

/** Where it counts its writes: 32 bits, little endian. */
export const COUNTED_AT = 0x3ff0000;
/** Where it writes, bytes. */
export const WRITTEN_FROM = 0x4000000;
const MOST_WRITTEN = 0x1000000;

/*
 *   cli; xor ax, ax; mov ds, ax; in al, 0x92; or al, 2; out 0x92, al    # address line 20
 *   lgdt [gdtd]; mov eax, cr0; or al, 1; mov cr0, eax; jmp 8:pm
 * pm: mov ax, 16; mov ds, ax; mov es, ax; mov eax, 1
 * again:
 *   imul eax, eax, 1103515245; add eax, 12345
 *   mov edx, eax; shr edx, 4; and edx, MASK; mov [edx + 0x4000000], eax
 *   inc dword [0x3ff0000]
 *   mov ecx, PACE; 1: loop 1b
 *   jmp again
 * At 0x60 the segments, at 0x78 what `lgdt` wants.
 */
const CODE = `
  fa31c08ed8e4920c02e692660f0116787c0f20c00c010f22c066ea217c0000080066b810008ed88ec0b801000000
  69c06d4ec641053930000089c2c1ea0481e2fcffff00898200000004ff050000ff03b990010000e2feebd5`;
const SEGMENTS = '0000000000000000ffff0000009acf00ffff00000092cf001700607c0000';
const MASK_AT = 0x40;
const PACE_AT = 0x51;
const SEGMENTS_AT = 0x60;

export interface WriterOptions {
  /** It writes into so many bytes: a power of two, up to 16 MiB. */
  bytes: number;
  /** Turns of an empty loop between two writes; with 0x10000 it is slow also under an emulator. */
  pace: number;
}

/** Writes the disk that the guest boots from. */
export function writeWriterDisk(path: string, { bytes, pace }: WriterOptions): void {
  if (bytes > MOST_WRITTEN || bytes < 4 || (bytes & (bytes - 1)) !== 0)
    throw new RangeError(`a guest that writes into ${bytes} bytes`);
  const sector = Buffer.alloc(512);
  sector.write(CODE.replaceAll(/\s/g, ''), 'hex');
  sector.write(SEGMENTS, SEGMENTS_AT, 'hex');
  sector.writeUInt32LE(bytes - 4, MASK_AT);
  sector.writeUInt32LE(pace, PACE_AT);
  sector.writeUInt16LE(0xaa55, 510);
  writeFileSync(path, sector);
}
