import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { bzImagePayload, hasPvhEntry, plainKernel } from './kernel.ts';

function note(name: string, type: number, content: string): Buffer {
  const padded = (text: string) => Buffer.from(text.padEnd((text.length + 3) & ~3, '\0'), 'latin1');
  const head = Buffer.alloc(12);
  head.writeUInt32LE(name.length, 0);
  head.writeUInt32LE(content.length, 4);
  head.writeUInt32LE(type, 8);
  return Buffer.concat([head, padded(name), padded(content)]);
}

/** A 64-bit ELF file with one note segment: a note of another sort, then the one given. */
function elfWithNote(type: number, name = 'Xen\0'): Buffer {
  const notes = Buffer.concat([note('Linux\0', 18, 'other'), note(name, type, 'entry')]);
  const elf = Buffer.alloc(64 + 56);
  elf.write('\x7fELF', 0, 'latin1');
  elf.writeUInt8(2, 4);
  elf.writeBigUInt64LE(64n, 32);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(1, 56);
  elf.writeUInt32LE(4, 64);
  elf.writeBigUInt64LE(120n, 64 + 8);
  elf.writeBigUInt64LE(BigInt(notes.length), 64 + 32);
  return Buffer.concat([elf, notes]);
}

function bzImage(payload: Uint8Array): Buffer {
  const image = Buffer.alloc(1024 + 512 + 16 + payload.length + 4);
  image.writeUInt8(2, 0x1f1);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x20f, 0x206);
  image.writeUInt32LE(16, 0x248);
  image.writeUInt32LE(payload.length + 4, 0x24c);
  image.set(payload, 1536 + 16);
  return image;
}

const noXz = () => Promise.reject(new Error('not xz'));
const PVH = elfWithNote(18);

describe('plain kernel', () => {
  it('recognises the PVH entry by its note, and nothing else by it', () => {
    assert.equal(hasPvhEntry(PVH), true);
    assert.equal(hasPvhEntry(elfWithNote(17)), false);
    assert.equal(hasPvhEntry(elfWithNote(19)), false);
    assert.equal(hasPvhEntry(elfWithNote(18, 'GNU\0')), false);
    assert.equal(hasPvhEntry(Buffer.alloc(200)), false);
  });

  for (const [name, pack] of [
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ] as const) {
    it(`takes an ELF kernel out of a bzImage packed with ${name}`, async () => {
      assert.deepEqual(Buffer.from(await plainKernel(bzImage(pack(PVH)), noXz)), PVH);
    });
  }

  it('hands an xz payload, without its trailer, to the unpacker', async () => {
    const packed = Buffer.concat([Buffer.from('fd377a585a00', 'hex'), Buffer.from('payload')]);
    let given: Uint8Array | undefined;
    const kernel = await plainKernel(bzImage(packed), async (bytes) => {
      given = bytes;
      return PVH;
    });
    assert.deepEqual(Buffer.from(given ?? []), packed);
    assert.equal(kernel, PVH);
  });

  it('keeps the image where there is no PVH entry, no known packing or no bzImage', async () => {
    const old = bzImage(gzipSync(elfWithNote(17)));
    assert.equal(await plainKernel(old, noXz), old);
    const unknown = bzImage(Buffer.from('no known packing'));
    assert.equal(await plainKernel(unknown, noXz), unknown);
    assert.equal(await plainKernel(PVH, noXz), PVH);
  });

  it('does not read past the end of a damaged image', () => {
    const image = bzImage(gzipSync(PVH));
    image.writeUInt32LE(image.length, 0x24c);
    assert.equal(bzImagePayload(image), undefined);
  });
});
