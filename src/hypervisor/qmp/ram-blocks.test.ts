import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRamBlocks } from './ram-blocks.ts';

const QEMU_7_2 = `              Block Name    PSize              Offset               Used              Total\r
                  pc.ram    4 KiB  0x0000000000000000 0x0000000010000000 0x0000000010000000\r
    /rom@etc/acpi/tables    4 KiB  0x0000000010080000 0x0000000000020000 0x0000000000200000\r
   0000:00:02.0/e1000e.rom    4 KiB  0x0000000010280000 0x0000000000001000 0x0000000000010000\r
`;
const QEMU_10 = `              Block Name    PSize              Offset               Used              Total                HVA  RO
                  pc.ram    4 KiB  0x0000000000000000 0x0000000008000000 0x0000000008000000 0x00007f2e2be00000  rw
             my ram name    2 MiB  0x0000000010000000 0x0000000000200000 0x0000000000200000 0x00007f2e2bc00000  ro
`;

test('the blocks of QEMU 7.2 are read with the size that is used', () => {
  assert.deepEqual(
    [...parseRamBlocks(QEMU_7_2)],
    [
      ['pc.ram', 0x10000000],
      ['/rom@etc/acpi/tables', 0x20000],
      ['0000:00:02.0/e1000e.rom', 0x1000],
    ],
  );
});

test('columns of later versions, and names with spaces, do not disturb', () => {
  assert.deepEqual(
    [...parseRamBlocks(QEMU_10)],
    [
      ['pc.ram', 0x8000000],
      ['my ram name', 0x200000],
    ],
  );
});

test('what is no listing has no blocks', () => {
  assert.equal(parseRamBlocks('unknown command: info ramblock').size, 0);
});
