/** A program for the kernel as an object file: two instructions, so that no compiler is needed. */

/** `r0 = VALUE; exit`. */
function instructions(value: number): Buffer {
  const code = Buffer.alloc(16);
  code[0] = 0xb7;
  code.writeInt32LE(value, 4);
  code[8] = 0x95;
  return code;
}

const SECTION = { symbols: 2, strings: 3, bits: 1 } as const;

/**
 * An ELF object for the BPF machine (as libbpf reads it) with one program, which always gives the same answer.
 * @param section what kind of program it is: `xdp`, `tc`
 */
export function bpfObject(section: string, name: string, value: number): Buffer {
  const names = `\0${section}\0license\0.symtab\0.strtab\0${name}\0`;
  const at = (text: string) => names.indexOf(`\0${text}\0`) + 1;
  const symbols = Buffer.alloc(48); // the first is empty
  symbols.writeUInt32LE(at(name), 24);
  symbols[28] = 0x12; // global, a function
  symbols.writeUInt16LE(1, 30);
  symbols.writeBigUInt64LE(16n, 40);
  const parts: [
    name: string,
    type: number,
    flags: bigint,
    body: Buffer,
    link: number,
    info: number,
    entry: bigint,
  ][] = [
    [section, SECTION.bits, 6n, instructions(value), 0, 0, 0n],
    ['license', SECTION.bits, 3n, Buffer.from('GPL\0'), 0, 0, 0n],
    ['.symtab', SECTION.symbols, 0n, symbols, 4, 1, 24n],
    ['.strtab', SECTION.strings, 0n, Buffer.from(names), 0, 0, 0n],
  ];
  const bodies: Buffer[] = [];
  const headers: Buffer[] = [Buffer.alloc(64)];
  let offset = 64;
  for (const [title, type, flags, body, link, info, entry] of parts) {
    const padded = Buffer.concat([body, Buffer.alloc((8 - (body.length % 8)) % 8)]);
    const header = Buffer.alloc(64);
    header.writeUInt32LE(at(title), 0);
    header.writeUInt32LE(type, 4);
    header.writeBigUInt64LE(flags, 8);
    header.writeBigUInt64LE(BigInt(offset), 24);
    header.writeBigUInt64LE(BigInt(body.length), 32);
    header.writeUInt32LE(link, 40);
    header.writeUInt32LE(info, 44);
    header.writeBigUInt64LE(8n, 48);
    header.writeBigUInt64LE(entry, 56);
    headers.push(header);
    bodies.push(padded);
    offset += padded.length;
  }
  const elf = Buffer.alloc(64);
  elf.write('\x7fELF\x02\x01\x01', 'latin1');
  elf.writeUInt16LE(1, 16); // relocatable
  elf.writeUInt16LE(247, 18); // BPF
  elf.writeUInt32LE(1, 20);
  elf.writeBigUInt64LE(BigInt(offset), 40);
  elf.writeUInt16LE(64, 52);
  elf.writeUInt16LE(64, 58);
  elf.writeUInt16LE(headers.length, 60);
  elf.writeUInt16LE(4, 62);
  return Buffer.concat([elf, ...bodies, ...headers]);
}

/** Shell that loads such a program in the guest and keeps it as /sys/fs/bpf/NAME. */
export function loadProgram(section: string, name: string, value: number, type: string): string {
  const text = bpfObject(section, name, value).toString('base64');
  return [
    'grep -q " /sys/fs/bpf " /proc/mounts || mount -t bpf bpf /sys/fs/bpf',
    `echo ${text} | base64 -d >/run/${name}.o`,
    `bpftool prog load /run/${name}.o /sys/fs/bpf/${name} type ${type}`,
  ].join('\n');
}
