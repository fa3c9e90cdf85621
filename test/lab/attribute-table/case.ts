/** One attribute of docs/shadow.md in a real guest: how to set it, how to read it without our own capture. */

export type Expectation =
  | { fate: 'restored' }
  /** `now` is what the guest's own tools print afterwards. */
  | { fate: 'adapted'; now: RegExp; how: RegExp }
  | { fate: 'lost'; why: RegExp };

export interface AttributeCase {
  /** Key of the attribute, as the result names it. */
  key: string;
  /**
   * Lines of shell that give it a value that no fresh device has; `$dev` is the interface that carries the
   * addresses. Empty where the lab's guest has such a value from its boot on: then `value` matches it.
   */
  set: string;
  /** Lines of shell that print it. */
  read: string;
  /** What `read` prints; needed where `set` is empty. */
  value?: RegExp;
  /** Default: restored. */
  expect?: Expectation;
}

/** Attributes that can be set together, and the migration that they go through together. */
export interface CaseGroup {
  name: string;
  from: string;
  to: string;
  continuity: 'replay' | 'hold' | 'bridge';
  /** A migration beforehand, so that the shadow interface is there already when the values are set. */
  adopted?: boolean;
  /** Processors of the guest; queues are as many as these, where the device has them. */
  cpus?: number;
  cases: readonly AttributeCase[];
}

/** A file's text. By cat: what a shell reads byte by byte from /proc/sys ends after the first. */
export const readFile = (path: string): string => `cat "${path}"`;

/** A case of a file of the interface, below /proc/sys/net or /sys/class/net: `$dev` may be part of the path. */
export function fileCase(key: string, path: string, value: string, expect?: Expectation): AttributeCase {
  return {
    key,
    set: `printf %s '${value}' >"${path}"`,
    read: readFile(path),
    ...(expect === undefined ? {} : { expect }),
  };
}
