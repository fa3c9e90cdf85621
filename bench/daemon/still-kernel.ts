/** A kernel that does nothing at all: VMs that run with it are real for their host, and need no processor. */

const MULTIBOOT_MAGIC = 0x1bad_b002;
/** The header says where the code goes, as there is no ELF file around it. */
const HAS_ADDRESSES = 0x0001_0000;
const LOAD_AT = 0x10_0000;
const HEADER_BYTES = 32;

/** No interrupts; the last tick of the timer that the firmware started; then halted for ever. */
const CODE = [
  ...[0xfa], // cli
  ...[0xb0, 0x30, 0xe6, 0x43], // timer 0: one shot
  ...[0x30, 0xc0, 0xe6, 0x40, 0xe6, 0x40], // in 65,536 of its ticks
  ...[0xf4, 0xeb, 0xfd], // hlt, again and again
];

/** The file, as QEMU loads it by `-kernel` (Multiboot). */
export function stillKernel(): Buffer {
  const size = HEADER_BYTES + CODE.length;
  const file = Buffer.alloc(size);
  const checksum = -(MULTIBOOT_MAGIC + HAS_ADDRESSES) >>> 0;
  const entry = LOAD_AT + HEADER_BYTES;
  const fields = [MULTIBOOT_MAGIC, HAS_ADDRESSES, checksum, LOAD_AT, LOAD_AT, LOAD_AT + size, 0, entry];
  fields.forEach((value, n) => void file.writeUInt32LE(value, n * 4));
  file.set(CODE, HEADER_BYTES);
  return file;
}
