/** One thing that `doctor` looked at. */
export interface Check {
  /** Heading that it stands under. */
  group: string;
  name: string;
  /** `warn`: something is less than it could be, all else works. `missing`: the demo cannot run without it. */
  state: 'ok' | 'warn' | 'missing';
  /** What was found. */
  detail: string;
  /** What to do about it. */
  fix?: string;
}

/** Makes the checks of one group. */
export function checksOf(group: string) {
  return {
    ok: (name: string, detail: string): Check => ({ group, name, state: 'ok', detail }),
    warn: (name: string, detail: string, fix: string): Check => ({ group, name, state: 'warn', detail, fix }),
    missing: (name: string, detail: string, fix: string): Check => ({
      group,
      name,
      state: 'missing',
      detail,
      fix,
    }),
  };
}
