/** Decisions as ordered rules: the first that holds is taken. The same list is executed, explored and printed. */

/** One row of a table of decisions. */
export interface Rule<F, A> {
  /** The facts it is about, in words. */
  readonly when: string;
  readonly holds: (facts: F) => boolean;
  readonly decision: A;
}

/**
 * The first rule that holds.
 * @throws RangeError when none does; tests walk every combination of facts, so that this cannot happen
 */
export function firstRule<F, A>(rules: readonly Rule<F, A>[], facts: F): Rule<F, A> {
  const found = rules.find(({ holds }) => holds(facts));
  if (found === undefined) throw new RangeError(`no rule for ${JSON.stringify(facts)}`);
  return found;
}
