/** Frames may be compressed; the first byte says whether one is. */
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { nonsense } from '../wire/bytes.ts';
import { MAX_PAYLOAD } from '../wire/ops.ts';

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** What a frame has before it, for what says how it is packed. */
export const FREE_BYTES = 1;

const PLAIN = 0;
const ZSTD = 1;
/** Less is not worth the time. */
const LEAST_BYTES = 512;

/** @param payload a frame after one free byte */
export async function pack(payload: Buffer, zstd: boolean): Promise<Buffer> {
  payload[0] = PLAIN;
  if (!zstd || payload.length < LEAST_BYTES) return payload;
  const params = { [constants.ZSTD_c_compressionLevel]: 1 };
  const small = await compress(payload.subarray(FREE_BYTES), { params });
  return small.length < payload.length ? Buffer.concat([Uint8Array.of(ZSTD), small]) : payload;
}

/** @throws TRANSFER_PROTOCOL */
export async function unpack(payload: Uint8Array): Promise<Uint8Array> {
  const rest = payload.subarray(FREE_BYTES);
  if (payload[0] === PLAIN) return rest;
  if (payload[0] !== ZSTD) throw nonsense('a frame packed in an unknown way');
  try {
    // a small frame must not become a large one
    return await decompress(rest, { maxOutputLength: MAX_PAYLOAD });
  } catch {
    throw nonsense('a compressed frame that cannot be read');
  }
}
