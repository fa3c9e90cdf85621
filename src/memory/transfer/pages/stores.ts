/**
 * The page stores of a host: the memory of VMs that have left, so that only what differs crosses the link when they come
 * back. A store is a directory with the pages, an index of their hashes, and a record, which is written last and removed
 * first. The least recently used go when a limit is reached. All of it may be deleted at any time: it only saves bytes.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { nowMs } from '../../../base/clock.ts';
import { errnoOf, writeWhole } from '../../../base/safe-file.ts';
import { ShadowferryError } from '../../../errors.ts';

import { MemoryLabel, StoreRecord } from './store-model.ts';

/** Of one store. */
export interface StoreFiles {
  readonly directory: string;
  readonly pages: string;
  readonly index: string;
  readonly record: string;
}

/** `left`: pages of a VM that left this host. `arrived`: what the host that it came from kept of it; hashes only. */
export type StoreKind = 'left' | 'arrived';

export class PageStores {
  readonly #root: string;
  readonly #capBytes: number;

  /** @param capBytes all stores together take no more; 0 keeps none */
  constructor(root: string, capBytes: number) {
    this.#root = root;
    this.#capBytes = capBytes;
  }

  get capBytes(): number {
    return this.#capBytes;
  }

  files(vm: string, kind: StoreKind): StoreFiles {
    if (!isVmName(vm)) throw new ShadowferryError('INTERNAL', { why: `"${vm}" is no VM's name` });
    const directory = join(this.#root, `${vm}.${kind}`);
    return {
      directory,
      pages: join(directory, 'pages'),
      index: join(directory, 'index'),
      record: join(directory, 'record.json'),
    };
  }

  /** Every store that is whole, the least recently used first. */
  list(): { kind: StoreKind; record: StoreRecord }[] {
    return this.#names()
      .flatMap(({ vm, kind }) => {
        const record = this.record(vm, kind);
        return record === undefined ? [] : [{ kind, record }];
      })
      .toSorted((one, other) => one.record.usedAt - other.record.usedAt);
  }

  /** The record of a store; undefined when there is none, or none that is whole. */
  record(vm: string, kind: StoreKind): StoreRecord | undefined {
    try {
      const record = StoreRecord.parse(JSON.parse(readFileSync(this.files(vm, kind).record, 'utf8')));
      return record.vm === vm ? record : undefined;
    } catch {
      return undefined; // it is not there, or not ours: as good as none
    }
  }

  writeRecord(kind: StoreKind, record: StoreRecord): void {
    writeWhole(this.files(record.vm, kind).record, JSON.stringify(record), 0o600, 'replace');
  }

  /** Makes the directory of a store that is about to be written; what its record said does not hold any more. */
  prepare(vm: string, kind: StoreKind): StoreFiles {
    const files = this.files(vm, kind);
    mkdirSync(files.directory, { recursive: true, mode: 0o700 });
    rmSync(files.record, { force: true });
    return files;
  }

  /** Marks a store as used now. */
  touch(vm: string, kind: StoreKind): void {
    const record = this.record(vm, kind);
    if (record !== undefined) this.writeRecord(kind, { ...record, usedAt: nowMs() });
  }

  /** Drops what is known of a VM. @returns whether there was something */
  drop(vm: string, kinds: readonly StoreKind[] = ['left', 'arrived']): boolean {
    const there = kinds.filter((kind) => this.record(vm, kind) !== undefined);
    for (const kind of kinds) rmSync(this.files(vm, kind).directory, { recursive: true, force: true });
    return there.length > 0;
  }

  /**
   * Drops others, the least recently used first, until so many bytes more fit.
   * @param keep the store that they are for
   * @returns whether they fit
   */
  makeRoom(bytes: number, keep: { vm: string; kind: StoreKind }): boolean {
    let free = this.#capBytes;
    const others = this.list().filter(({ kind, record }) => record.vm !== keep.vm || kind !== keep.kind);
    for (const { record } of others) free -= record.bytes;
    for (const { kind, record } of others) {
      if (free >= bytes) break;
      this.drop(record.vm, [kind]);
      free += record.bytes;
    }
    return free >= bytes;
  }

  /** Removes what a crash left: directories whose record was not written. Not while a VM comes or leaves. */
  tidy(): string[] {
    const broken = this.#names().filter(({ vm, kind }) => this.record(vm, kind) === undefined);
    for (const { vm, kind } of broken)
      rmSync(this.files(vm, kind).directory, { recursive: true, force: true });
    return broken.map(({ vm, kind }) => `${vm}.${kind}`);
  }

  #names(): { vm: string; kind: StoreKind }[] {
    let names: string[];
    try {
      names = readdirSync(this.#root);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    }
    return names.flatMap((name) => {
      const [vm = '', kind, more] = name.split('.');
      if (!isVmName(vm) || more !== undefined || (kind !== 'left' && kind !== 'arrived')) return [];
      return [{ vm, kind }];
    });
  }
}

function isVmName(name: string): boolean {
  return MemoryLabel.shape.vm.safeParse(name).success;
}
