/**
 * A firmware for a VM that has nothing else: it does what every guest's kernel does first, and answers through the
 * debug exit port. It is long enough that an accelerator that interprets instructions one by one (KVM does so for
 * guests that the processor cannot run directly) does not come to the end of it in time.
 */

/** What it writes to the debug exit port; QEMU ends with twice that plus one. */
const ANSWER = 0x2a;
export const EXIT_PORT = 0xf4;
export const EXIT_CODE = ANSWER * 2 + 1;

const SIZE = 65_536;
/** Where its text stands in the image; the guest sees it at 0xf0000 above. */
const START = 0xf000;
const HLT = 0xf4;

/** Machine code, assembled from what stands beside it (Intel syntax). */
const TEXT = [
  // 16 bits: into protected mode
  'fa', //                        cli
  '2e 0f 01 16 00 f1', //         lgdt cs:[gdtr]
  '0f 20 c0  0c 01  0f 22 c0', // mov eax, cr0; or al, 1; mov cr0, eax
  '66 ea 17 f0 0f 00 08 00', //   jmp 0x08:protected
  // 32 bits, protected: flat segments and a stack
  '66 b8 10 00', //               mov ax, 0x10
  '8e d8  8e d0', //              mov ds, ax; mov ss, ax
  'bc 00 70 00 00', //            mov esp, 0x7000
  // the local APIC on, its pin 0 open for the interrupt controller
  'b8 00 00 e0 fe', //                mov eax, 0xfee00000
  'c7 80 f0 00 00 00 ff 01 00 00', // mov dword [eax + 0xf0], 0x1ff
  'c7 80 50 03 00 00 00 07 00 00', // mov dword [eax + 0x350], 0x700
  // page tables that map the lowest 2 MiB to themselves
  'c7 05 00 10 00 00 03 20 00 00', // mov dword [0x1000], 0x2003
  'c7 05 00 20 00 00 03 30 00 00', // mov dword [0x2000], 0x3003
  'c7 05 00 30 00 00 83 00 00 00', // mov dword [0x3000], 0x83
  'b8 00 10 00 00  0f 22 d8', //      mov eax, 0x1000; mov cr3, eax
  // into long mode, with paging
  '0f 20 e0  0c 20  0f 22 e0', //           mov eax, cr4; or al, 0x20; mov cr4, eax
  'b9 80 00 00 c0', //                      mov ecx, 0xc0000080
  '0f 32  80 cc 01  0f 30', //              rdmsr; or ah, 1; wrmsr
  '0f 20 c0  0d 00 00 00 80  0f 22 c0', //  mov eax, cr0; or eax, 0x80000000; mov cr0, eax
  'ea 89 f0 0f 00 18 00', //                jmp 0x18:long
  // 64 bits, long: work that takes 50 ms on a processor
  'b9 00 00 00 04', //            mov ecx, 1 << 26
  'ff c9  75 fc', //              again: dec ecx; jnz again
  // let the timer interrupt once, in 1 ms, and sleep until then
  '0f 01 1c 25 06 f1 0f 00', //   lidt [idtr]
  'b0 11 e6 20  b0 20 e6 21', //  interrupt controller: initialise; vectors from 0x20
  'b0 04 e6 21  b0 01 e6 21', //    cascade on 2; 8086 mode
  'b0 fe e6 21  b0 ff e6 a1', //    only the timer's line
  'b0 30 e6 43', //               timer: channel 0, one shot
  'b0 a9 e6 40  b0 04 e6 40', //    after 1193 ticks
  'fb', //                        sti
  'f4  eb fd', //                 sleep: hlt; jmp sleep
  // the timer's interrupt: answer
  'b0 2a  e6 f4', //              mov al, ANSWER; out EXIT_PORT, al
  'f4  eb fd', //                 stop: hlt; jmp stop
  '90 90 90 90 90 90 90', //      up to a multiple of 16
  // descriptors: none; 32-bit code; data; 64-bit code
  '00 00 00 00 00 00 00 00  ff ff 00 00 00 9a cf 00',
  'ff ff 00 00 00 92 cf 00  ff ff 00 00 00 9a af 00',
  'c2 f0 18 00 00 8e 0f 00  00 00 00 00 00 00 00 00', // the gate of interrupt 0x20
  '1f 00  d0 f0 0f 00', //              gdtr
  '0f 02  f0 ee 0f 00 00 00 00 00', //  idtr: so that interrupt 0x20 finds its gate
].join(' ');

/** The 64 KiB image for `-bios`. The processor begins 16 bytes before its end. */
export function probeFirmware(): Uint8Array {
  const image = new Uint8Array(SIZE).fill(HLT);
  image.set(Buffer.from(TEXT.replaceAll(' ', ''), 'hex'), START);
  const afterJump = SIZE - 16 + 3;
  image.set([0xe9, 0, 0], SIZE - 16); // jmp START, counted from the next instruction, within 64 KiB
  new DataView(image.buffer).setUint16(SIZE - 15, (START - afterJump) & 0xffff, true);
  return image;
}
