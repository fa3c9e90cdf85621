/** Writes streams as QEMU does, and such as it does not. */
import { FLAG, MAGIC, PAGE_BYTES, SECTION, VERSION } from './format.ts';
import { writePageWord } from './page-header.ts';

const be16 = (value: number) => [(value >> 8) & 0xff, value & 0xff];
const be32 = (value: number) => [...be16(value >>> 16), ...be16(value & 0xffff)];
const be64 = (value: number) => [...be32(Math.floor(value / 2 ** 32)), ...be32(value % 2 ** 32)];
const name8 = (name: string) => [name.length, ...Buffer.from(name, 'latin1')];

class Bytes {
  protected readonly parts: Uint8Array[] = [];

  raw(bytes: ArrayLike<number>): this {
    this.parts.push(new Uint8Array(bytes));
    return this;
  }

  whole(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.parts));
  }
}

/** Pages of one section; a name is left out with ''. */
export class PagesWriter extends Bytes {
  word(address: number, flags: number): this {
    const bytes = new Uint8Array(8);
    writePageWord(new DataView(bytes.buffer), 0, flags, address);
    return this.raw(bytes);
  }

  page(block: string, number: number, content: Uint8Array): this {
    return this.#head(block, number, FLAG.page).raw(content);
  }

  zero(block: string, number: number, fill = 0): this {
    return this.#head(block, number, FLAG.zero).raw([fill]);
  }

  #head(block: string, number: number, flag: number): this {
    this.word(number * PAGE_BYTES, block === '' ? flag | FLAG.continued : flag);
    return block === '' ? this : this.raw(name8(block));
  }
}

const RAM_ID = 2;

export class StreamWriter extends Bytes {
  header(): this {
    return this.raw([...be32(MAGIC), ...be32(VERSION)]);
  }

  configuration(machine: string): this {
    return this.raw([SECTION.configuration, ...be32(machine.length), ...Buffer.from(machine)]);
  }

  command(command: number, data: readonly number[] = []): this {
    return this.raw([SECTION.command, ...be16(command), ...be16(data.length), ...data]);
  }

  packaged(data: readonly number[]): this {
    return this.command(7, be32(data.length)).raw(data);
  }

  sectionStart(name: string, version: number): this {
    return this.raw([SECTION.start, ...be32(RAM_ID), ...name8(name), ...be32(0), ...be32(version)]);
  }

  /** @param between bytes after each block */
  setup(blocks: readonly [string, number][], between: readonly number[] = []): this {
    const total = blocks.reduce((sum, [, length]) => sum + length, 0);
    const list = blocks.flatMap(([name, length]) => [...name8(name), ...be64(length), ...between]);
    const words = new PagesWriter().word(total, FLAG.memSize).raw(list).word(0, FLAG.eos);
    return this.sectionStart('ram', 4).raw(words.whole()).#footer();
  }

  part(write: (ram: PagesWriter) => PagesWriter, footer?: readonly number[]): this {
    return this.#pages(SECTION.part, write, footer);
  }

  end(write: (ram: PagesWriter) => PagesWriter): this {
    return this.#pages(SECTION.end, write);
  }

  #pages(type: number, write: (ram: PagesWriter) => PagesWriter, footer?: readonly number[]): this {
    const pages = write(new PagesWriter()).word(0, FLAG.eos);
    this.raw([type, ...be32(RAM_ID)]).raw(pages.whole());
    return footer === undefined ? this.#footer() : this.raw(footer);
  }

  #footer(): this {
    return this.raw([SECTION.footer, ...be32(RAM_ID)]);
  }
}
