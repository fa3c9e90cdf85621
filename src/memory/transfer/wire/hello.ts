/** The first frame in each direction of a connection. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { nonsense } from './bytes.ts';

const MAGIC = 0x53465452;
const WIRE_VERSION = 1;
const SESSION_BYTES = 16;
const SECRET_BYTES = 32;
const HELLO_BYTES = 6 + SESSION_BYTES + SECRET_BYTES + 4;

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));

/** Who belongs to a transfer. The secret keeps strangers out; where the network is not trusted, TLS goes below. */
export const SessionKey = z.object({ session: hex(SESSION_BYTES), secret: hex(SECRET_BYTES) });
export type SessionKey = z.infer<typeof SessionKey>;

export function newSessionKey(): SessionKey {
  return {
    session: randomBytes(SESSION_BYTES).toString('hex'),
    secret: randomBytes(SECRET_BYTES).toString('hex'),
  };
}

/** @param received how many numbered frames have come, in their order */
export function printHello({ session, secret }: SessionKey, received: number): Buffer {
  const bytes = Buffer.alloc(HELLO_BYTES);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt16BE(WIRE_VERSION, 4);
  bytes.write(session, 6, 'hex');
  bytes.write(secret, 6 + SESSION_BYTES, 'hex');
  bytes.writeUInt32BE(received, HELLO_BYTES - 4);
  return bytes;
}

/** @returns what the other end has received. @throws TRANSFER_PROTOCOL when it is not the other end of this transfer */
export function checkHello(payload: Uint8Array, key: SessionKey): number {
  const bytes = Buffer.from(payload);
  if (bytes.length < 6 || bytes.readUInt32BE(0) !== MAGIC) throw nonsense('a greeting of another protocol');
  const version = bytes.readUInt16BE(4);
  if (version !== WIRE_VERSION || bytes.length !== HELLO_BYTES)
    throw nonsense(`version ${version} of the protocol, and not ${WIRE_VERSION}`);
  const wanted = printHello(key, 0);
  const end = HELLO_BYTES - 4;
  if (!timingSafeEqual(bytes.subarray(0, end), wanted.subarray(0, end)))
    throw nonsense('the greeting of another transfer');
  return bytes.readUInt32BE(end);
}
