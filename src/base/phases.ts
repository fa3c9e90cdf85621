/** The phases of a migration, in order (docs/architecture.md, section 3). */
export const PHASES = [
  'preflight',
  'reserve',
  'stage',
  'detach',
  'copy',
  'switchover',
  'attach',
  'settle',
] as const;
