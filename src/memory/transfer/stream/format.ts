/**
 * Numbers of QEMU's migration stream, as its `migration/savevm.c` and `migration/ram.c` write them. Everything is big
 * endian. They have been the same since QEMU 2.4; what is newer is told apart by the parser, and left alone.
 */

/** Bytes of a page in the stream: the target's smallest, on x86 and in the stream of every accelerator. */
export const PAGE_BYTES = 4096;

export const MAGIC = 0x5145564d;
export const VERSION = 3;

export const SECTION = {
  eof: 0x00,
  start: 0x01,
  part: 0x02,
  end: 0x03,
  full: 0x04,
  subsection: 0x05,
  vmDescription: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const;

/** Low bits of the word before each page. */
export const FLAG = {
  zero: 0x02,
  memSize: 0x04,
  page: 0x08,
  eos: 0x10,
  continued: 0x20,
  xbzrle: 0x40,
  hook: 0x80,
  compressed: 0x100,
  multifdFlush: 0x200,
} as const;

/** `MIG_CMD_PACKAGED`: its data is the length of what follows. */
export const COMMAND_PACKAGED = 7;

/** Version of the section "ram". */
export const RAM_VERSION = 4;

/** Blocks of memory that one stream may name: a VM has about a dozen, and each costs memory here. */
export const MAX_BLOCKS = 4096;

/** The longest record that must be seen whole: a page with the name of its block. */
export const MAX_RECORD = 8 + 1 + 255 + PAGE_BYTES;

/** Words for flags that stand for a form of memory which is not understood here. */
export function flagName(flags: number): string {
  if (flags & FLAG.xbzrle) return 'xbzrle';
  if (flags & FLAG.compressed) return 'compressed pages';
  if (flags & FLAG.hook) return 'hooks of RDMA';
  if (flags & FLAG.multifdFlush) return 'multifd';
  return `the flags 0x${flags.toString(16)}`;
}
