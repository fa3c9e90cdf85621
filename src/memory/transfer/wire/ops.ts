/** What a frame of memory is made of. Pages follow each other: only where they do not, a `seek` says where one goes on. */

export const OP = {
  /** Bytes as they are: their number, then they. */
  bytes: 1,
  /** A block: length of its name, name, length in bytes. */
  block: 2,
  /** The next page: its block, its number, and whether its header names the block. */
  seek: 3,
  /** So many pages of zeroes. */
  zeros: 4,
  /** So many pages with their content, each of which the receiver keeps for a while. */
  pages: 5,
  /** So many pages with their content, of which it keeps none. */
  plain: 6,
  /** So many pages that are in the receiver's store, in the same place. */
  same: 7,
  /** So many pages that it kept: from which place on. */
  recent: 8,
  /** The memory is complete: the hash of all that went by. */
  end: 9,
} as const;

/** Pages that were sent and that both ends keep, to send what comes again by its place: 16 MiB. */
export const RECENT_PAGES = 4096;

/** Bytes of the stream that one frame may stand for. */
export const MAX_EXPANSION = 1024 * 1024;

/** What one usually stands for: a chunk that was read at once, and a page that began before it. */
export const USUAL_EXPANSION = 272 * 1024;

/** Bytes of a frame. */
export const MAX_PAYLOAD = MAX_EXPANSION + 64 * 1024;

/** Operations of a frame: a chunk of zero pages each of which is somewhere else has two for 9 bytes of the stream. */
export const MAX_OPS = 2 ** 18;
