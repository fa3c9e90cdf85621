/** The shadows that were seen, and their past. */
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import { findVersion } from '../../observe/operand.ts';
import { changesBetween, comparedOf } from '../../shadow/store/changes.ts';
import type { ShadowStore, ShadowVersion } from '../../shadow/store/store.ts';
import type { ShadowVersion as ApiVersion, Page, ShadowDetail, ShadowDiff } from '../api/model.ts';
import { Pager } from '../http/pagination.ts';

const ByNic: z.ZodType<[string, string]> = z.tuple([z.string(), z.string()]);
const BySeq: z.ZodType<[number]> = z.tuple([z.number()]);

interface Paging {
  limit: number;
  cursor?: string | undefined;
}

export class ShadowService {
  readonly #store: ShadowStore;

  constructor(store: ShadowStore) {
    this.#store = store;
  }

  list(query: Paging & { vm?: string | undefined }): Page<ApiVersion> {
    const pager = new Pager('shadows', { vm: query.vm }, ByNic);
    const found = this.#store.newest({ vm: query.vm }, query.limit + 1, pager.after(query.cursor));
    return pager.page(found, query.limit, ({ vm, nic }) => [vm, nic]);
  }

  /** The newest first. @throws UNKNOWN_VERSION */
  versions(vm: string, nic: string, query: Paging): Page<ApiVersion> {
    this.#need(vm, nic, 'last');
    const pager = new Pager(`versions ${vm} ${nic}`, {}, BySeq);
    const before = pager.after(query.cursor)?.[0] ?? Number.MAX_SAFE_INTEGER;
    // there are 256 at most
    const all = this.#store.versions(vm, nic).reverse();
    const found = all.filter(({ seq }) => seq < before).slice(0, query.limit + 1);
    return pager.page(found, query.limit, ({ seq }) => [seq]);
  }

  /** @throws UNKNOWN_VERSION */
  get(vm: string, nic: string, which: 'last' | number): ShadowDetail {
    const version = this.#need(vm, nic, which);
    const shadow = this.#store.shadow(version);
    const changes = this.#store.changes(version);
    return { ...version, changes, shadow: shadow === undefined ? null : { ...shadow } };
  }

  /** @throws UNKNOWN_VERSION, INPUT_FIELD */
  diff(vm: string, nic: string, from: number, to: number): ShadowDiff {
    const [before, after] = [this.#compared(vm, nic, from), this.#compared(vm, nic, to)];
    const changes = changesBetween(before, after);
    return { vm, nic, from, to, equal: changes.length === 0, changes };
  }

  #compared(vm: string, nic: string, seq: number) {
    const shadow = this.#store.shadow(this.#need(vm, nic, seq));
    if (shadow !== undefined) return comparedOf(shadow);
    const problem = `version ${seq} was written by another version of Shadowferry and is not read any more`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'query', problem });
  }

  #need(vm: string, nic: string, which: 'last' | number): ShadowVersion {
    return findVersion(this.#store, { field: 'version', vm, nic }, String(which));
  }
}
