/** QEMU's blocks of guest memory, as its own listing names them. */
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import type { Qmp } from './client.ts';

const LINE = /^\s*(\S.*?)\s+\d+ (?:[KMGT]i)?B\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+0x[0-9a-f]+/;

/** Sizes in bytes by name, from the text of `info ramblock`. Pure. */
export function parseRamBlocks(text: string): Map<string, number> {
  const blocks = new Map<string, number>();
  for (const line of text.split(/\r?\n/)) {
    const [, name, used] = LINE.exec(line) ?? [];
    if (name !== undefined && used !== undefined) blocks.set(name, Number.parseInt(used, 16));
  }
  return blocks;
}

/** @throws QMP_REFUSED, or INTERNAL when this QEMU lists them in a form of its own */
export async function ramBlocks(qmp: Qmp, signal: AbortSignal): Promise<Map<string, number>> {
  const command = { 'command-line': 'info ramblock' };
  const text = await qmp.execute('human-monitor-command', command, { schema: z.string(), signal });
  const blocks = parseRamBlocks(text);
  if (blocks.size === 0)
    throw new ShadowferryError('INTERNAL', { why: `no blocks of memory in "${text.slice(0, 200)}"` });
  return blocks;
}
