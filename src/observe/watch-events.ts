/** What a watch tells, one JSON object per line with `--json`. */
import type { ErrorCode } from '../errors.ts';
import type { Change } from '../shadow/store/changes.ts';

/** A version of a NIC's shadow, in short. */
export interface VersionSaid {
  nic: string;
  seq: number;
  label: string;
}

export type WatchEvent =
  /** The VM is watched: what it shows is in the store, and each change will be. */
  | {
      type: 'watching';
      vm: string;
      host: string;
      /** Whether the watcher in the guest is a new one, or was there already. */
      watcher: 'started' | 'found';
      /** Events that this guest cannot tell, by the program that would: those changes are seen by the slow look. */
      deaf: string[];
      nics: VersionSaid[];
    }
  /** Something changed and is in the store. */
  | ({ type: 'changed'; vm: string; atMs: number; changes: Change[] } & VersionSaid)
  /**
   * A device does not show itself any more; `last` is what is known of it. `late`: something had changed before, more
   * than a second ago, that could not be captured any more. What changed in its last second nobody can tell from its end.
   */
  | { type: 'gone'; vm: string; nic: string; why: string; last: VersionSaid | null; late: boolean }
  /** A device that was gone shows itself again, or the one that took its place. */
  | ({ type: 'back'; vm: string } & VersionSaid)
  /** Nothing is seen for now: the VM moves, is driven by a command, or its guest is silent. It goes on by itself. */
  | { type: 'away'; vm: string; code: ErrorCode; why: string }
  | { type: 'ended'; vm: string };
