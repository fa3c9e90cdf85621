/** What the phases of one swap share. */
import type { AbilityStore } from '../../shadow/net/abilities.ts';
import type { ManagerReport } from '../../shadow/net/manager/manager.ts';
import type { NetShadow } from '../../shadow/net/model.ts';
import type { Continuity, ReplayPlan } from '../../shadow/net/plan-model.ts';
import type { OperationResult } from '../../shadow/net/verify.ts';
import type { ShadowStore } from '../../shadow/store/store.ts';
import type { RunJournal } from '../careful-journal.ts';
import type { Knowledge } from '../knowledge.ts';
import type { RunLog } from '../run.ts';
import type { SwapRequest } from './request.ts';
import type { SwapSite } from './site.ts';

/** The state that a device had when it was last looked at: what a rescue has to go by. */
export interface LastKnown {
  shadow: NetShadow;
  /** Where it is from, for the user: `watched`, `journal`… */
  from: string;
  /** Ms since the epoch. */
  seenAtMs: number;
}

export interface SwapRun extends RunLog {
  readonly journal: RunJournal;
  readonly request: SwapRequest;
  readonly site: SwapSite;
  readonly abilities: AbilityStore;
  readonly shadows: ShadowStore | undefined;
  /** The user's cancel; heeded until traffic is on the new device. */
  readonly cancel: AbortSignal;
  /** For a rescue: what is known of the device that is gone. */
  readonly lastKnown: LastKnown | undefined;
  /** The program is in the guest already, armed with the plan for this device. */
  readonly armed: ReplayPlan | undefined;
  readonly facts: SwapFacts;
}

/** What the phases find out, each for those after it. */
export interface SwapFacts {
  shadow?: NetShadow;
  continuity?: Continuity;
  /** What is known of both devices. */
  known?: Knowledge;
  plan?: ReplayPlan;
  /** The network manager as it was before it was told; absent when nobody told it. */
  manager?: ManagerReport;
  /** Traffic was told to leave the old device. */
  leaving?: boolean;
  /** The old device is gone. */
  unplugged?: boolean;
  /** How the operations in the guest ended; absent while the new device has not come. */
  results?: OperationResult[];
  after?: NetShadow;
  /** Files for the next boot; absent when they were not asked for. */
  persisted?: string[];
}
