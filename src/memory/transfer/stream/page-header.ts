import { FLAG, PAGE_BYTES } from './format.ts';

/**
 * The bytes before a page's content.
 * @param name of its block; undefined when the page before is in the same one
 * @param address in bytes within the block
 */
export function pageHeader(kind: 'page' | 'zero', name: string | undefined, address: number): Uint8Array {
  const flags = (kind === 'page' ? FLAG.page : FLAG.zero) | (name === undefined ? FLAG.continued : 0);
  const bytes = new Uint8Array(8 + (name === undefined ? 0 : 1 + name.length));
  writePageWord(new DataView(bytes.buffer), 0, flags, address);
  if (name !== undefined) {
    bytes[8] = name.length;
    // names of blocks are bytes to us
    for (let n = 0; n < name.length; n++) bytes[9 + n] = name.charCodeAt(n);
  }
  return bytes;
}

/** The word itself: the address in its upper bits, the flags in those that an address does not have. */
export function writePageWord(view: DataView, at: number, flags: number, address: number): void {
  view.setUint32(at, Math.floor(address / 2 ** 32));
  view.setUint32(at + 4, (address % 2 ** 32) - (address % PAGE_BYTES) + flags);
}
