import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import type { AgentChannel, RequestOptions } from './channel.ts';
import type { AgentClient } from './client.ts';

/** Bytes per request: large enough that round trips do not dominate, small enough for the agent to parse at once. */
const CHUNK_BYTES = 128 * 1024;

const MAX_READ_BYTES = 16 * 1024 * 1024;

export interface WriteFileOptions extends RequestOptions {
  /** Permission bits, default 0o600. The agent itself would make a file that everybody can write. */
  mode?: number;
}

const Handle = z.number();
const Written = z.object({ count: z.number() });
const Read = z.object({ count: z.number(), 'buf-b64': z.string(), eof: z.boolean() });

/** See `AgentClient.writeFile`. */
export async function writeGuestFile(
  channel: AgentChannel,
  agent: Pick<AgentClient, 'exec'>,
  path: string,
  data: string | Uint8Array,
  { mode = 0o600, ...options }: WriteFileOptions = {},
): Promise<void> {
  const bytes = Buffer.from(data);
  await createEmpty(agent, path, mode, options);
  await withHandle(channel, path, 'w', options, async (handle) => {
    for (let offset = 0; offset < bytes.length; ) {
      const part = bytes.subarray(offset, offset + CHUNK_BYTES);
      const request = { handle, 'buf-b64': part.toString('base64') };
      const { count } = await channel.request('guest-file-write', request, Written, options);
      if (count <= 0) throw refused('guest-file-write', `${path}: nothing was written`);
      offset += count;
    }
    await channel.request('guest-file-flush', { handle }, z.unknown(), options);
  });
}

/** See `AgentClient.readFile`. */
export async function readGuestFile(
  channel: AgentChannel,
  path: string,
  { maxBytes = MAX_READ_BYTES, ...options }: RequestOptions & { maxBytes?: number } = {},
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  await withHandle(channel, path, 'r', options, async (handle) => {
    for (;;) {
      const request = { handle, count: CHUNK_BYTES };
      const reply = await channel.request('guest-file-read', request, Read, options);
      parts.push(Buffer.from(reply['buf-b64'], 'base64'));
      size += reply.count;
      if (size > maxBytes) throw refused('guest-file-read', `${path} is larger than ${maxBytes} bytes`);
      if (reply.eof || reply.count === 0) return;
    }
  });
  return Buffer.concat(parts);
}

/**
 * Makes the file anew with its permissions before it has content: the agent creates files with mode 0666, and
 * what we write may be run as root.
 */
async function createEmpty(
  agent: Pick<AgentClient, 'exec'>,
  path: string,
  mode: number,
  { signal }: RequestOptions,
): Promise<void> {
  const script = 'umask 077 && rm -f -- "$1" && : > "$1" && chmod "$2" "$1"';
  await agent.exec(['/bin/sh', '-c', script, 'sh', path, mode.toString(8)], {
    check: true,
    ...(signal === undefined ? {} : { signal }),
  });
}

async function withHandle(
  channel: AgentChannel,
  path: string,
  mode: 'r' | 'w',
  options: RequestOptions,
  use: (handle: number) => Promise<void>,
): Promise<void> {
  const handle = await channel.request('guest-file-open', { path, mode }, Handle, options);
  try {
    await use(handle);
  } catch (error) {
    // Closes after a refusal or a cancellation; an agent that was silent would only make us wait longer.
    if (!(error instanceof ShadowferryError && error.code === 'AGENT_SILENT')) {
      await channel.request('guest-file-close', { handle }, z.unknown()).catch(() => {});
    }
    throw error;
  }
  await channel.request('guest-file-close', { handle }, z.unknown(), options);
}

function refused(command: string, description: string): ShadowferryError {
  return new ShadowferryError('AGENT_REFUSED', { command, description, class: 'GenericError' });
}
