/** The result of a migration that a later process took to its end: what the journal alone can say. */

import { PHASES } from '../../base/phases.ts';
import { isErrorCode, ShadowferryError } from '../../errors.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { Journal, JournalMigration } from '../journal.ts';
import type { Ending, State } from '../machine.ts';
import type { MigrationResult, ResultError } from '../result.ts';

/** Where it was when its process ended. */
export function phaseOf(state: State): string {
  return state.kind === 'running'
    ? state.phase
    : state.kind === 'rolling-back'
      ? `the way back from ${state.from}`
      : 'end';
}

/** The first error that was noted, else that the process ended. */
function errorOf(journal: Journal, { id }: JournalMigration, before: State): ResultError {
  const noted = journal.notes(id).find(({ kind }) => kind === 'error')?.text;
  const [, code = '', message = ''] = /^([A-Z_]+): (.*)$/s.exec(noted ?? '') ?? [];
  if (isErrorCode(code)) return { code, message, fix: 'Look at the reason, and try again.' };
  const { fix, ...error } = new ShadowferryError('INTERRUPTED', { phase: phaseOf(before) });
  return { code: error.code, message: error.message, fix };
}

export interface Recovery {
  entry: JournalMigration;
  /** As it was found. */
  before: State;
  ending: Ending;
  left: string[];
  /** The VM, where it was seen on this host. */
  spec: VmSpec | undefined;
  decisions: MigrationResult['decisions'];
  warnings: string[];
}

/** Times are ms since the migration began; what only its own process has measured is null or empty. */
export function recoveredResult(journal: Journal, recovery: Recovery): MigrationResult {
  const { entry, ending, before, left, spec, decisions, warnings } = recovery;
  const ok = ending === 'completed' || ending === 'planned';
  const models = (spec?.nics ?? []).flatMap(({ direct }) => (direct === undefined ? [] : [direct.model]));
  const steps = journal.steps(entry.id).flatMap(({ phase, name, begun, ended }) => {
    const known = PHASES.find((each) => each === phase);
    if (known === undefined || ended === null) return [];
    const startMs = begun - entry.created;
    return [{ phase: known, name, startMs, durationMs: ended - begun, critical: false }];
  });
  return {
    kind: 'recovered',
    id: entry.id,
    vm: entry.vm,
    source: entry.source,
    destination: entry.destination,
    ending,
    ok,
    from: { model: models.join(', ') || 'unknown', driver: 'unknown' },
    startedAtMs: entry.created,
    totalMs: Date.now() - entry.created,
    blackoutMs: null,
    qemuDowntimeMs: null,
    memoryBytes: 0,
    phases: [],
    steps,
    marks: [],
    progress: [],
    decisions,
    warnings,
    shadow: { captured: 0, restored: [], adapted: [], lost: [] },
    nics: [],
    ...(ok ? {} : { error: errorOf(journal, entry, before) }),
    left,
  };
}
