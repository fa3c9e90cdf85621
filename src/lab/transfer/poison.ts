/** Damages what hosts keep of a VM's memory, as disks, crashes and mistakes may. */
import { closeSync, existsSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import type { PageStores } from '../../memory/transfer/pages/stores.ts';
import type { Chance } from './chance.ts';

export const POISONS = [
  'none',
  'pages',
  'index',
  'arrived',
  'epoch',
  'version',
  'dropped',
  'forgotten',
] as const;
export type Poison = (typeof POISONS)[number];

/** Bits that are flipped in the pages. */
const FLIPS = 40;

/**
 * @param kept stores of the host to which the VM comes back
 * @param remembered those of the host that it leaves
 */
export function poison(
  kind: Poison,
  kept: PageStores,
  remembered: PageStores,
  vm: string,
  chance: Chance,
): void {
  const { pages, index, record } = kept.files(vm, 'left');
  if (!existsSync(record)) return;
  switch (kind) {
    case 'none':
      return;
    case 'pages': {
      const { dataBytes, at } = dataOf(pages, chance);
      for (let n = 0; n < FLIPS && dataBytes > 0; n++) flip(pages, at());
      return;
    }
    case 'index':
      flip(index, chance.below(readFileSync(index).length));
      return;
    case 'arrived': {
      const file = remembered.files(vm, 'arrived').index;
      if (existsSync(file)) flip(file, chance.below(readFileSync(file).length));
      return;
    }
    case 'epoch':
      rewrite(record, { epoch: 9_999 });
      return;
    case 'version':
      rewrite(record, { version: 'c0'.repeat(32) });
      return;
    case 'dropped':
      kept.drop(vm);
      return;
    case 'forgotten':
      remembered.drop(vm);
      return;
    default:
      kind satisfies never;
  }
}

/** Places in a sparse file that hold something. */
function dataOf(file: string, chance: Chance): { dataBytes: number; at: () => number } {
  const content = readFileSync(file);
  const filled: number[] = [];
  for (let page = 0; page * 4096 < content.length; page++)
    if (content.subarray(page * 4096, page * 4096 + 4096).some((byte) => byte !== 0)) filled.push(page);
  const at = () => (filled[chance.below(filled.length)] ?? 0) * 4096 + chance.below(4096);
  return { dataBytes: filled.length * 4096, at };
}

function flip(path: string, at: number): void {
  const file = openSync(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 0x20;
    writeSync(file, byte, 0, 1, at);
  } finally {
    closeSync(file);
  }
}

function rewrite(record: string, more: Record<string, unknown>): void {
  writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record, 'utf8')), ...more }));
}
