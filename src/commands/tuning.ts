/** `--tune KEY=VALUE`: thresholds of the strategy. */
import { nearest } from '../base/nearest.ts';
import { ShadowferryError } from '../errors.ts';
import { StrategyOptions, StrategyTuning } from '../memory/strategy/options.ts';

const FIELD = '--tune';

/** `KEY=VALUE`, repeated; a value is a number, `true` or `false`. @throws INPUT_FIELD naming the key that is wrong */
export function tuningOption(text: string, before: StrategyTuning): StrategyTuning {
  const [key = '', value, ...rest] = text.split('=');
  const wrong = (problem: string) => new ShadowferryError('INPUT_FIELD', { field: FIELD, problem });
  if (value === undefined || rest.length > 0) throw wrong(`"${text}" is not KEY=VALUE`);
  const keys = Object.keys(StrategyOptions.shape);
  if (!keys.includes(key)) {
    const meant = nearest(key, keys);
    throw wrong(
      `there is no threshold "${key}"${meant === undefined ? '' : `; did you mean "${meant}"?`}; docs/memory.md lists them`,
    );
  }
  if (key in before) throw wrong(`"${key}" is given twice`);
  const given =
    value === 'true' ? true : value === 'false' ? false : Number(value === '' ? Number.NaN : value);
  const parsed = StrategyTuning.safeParse({ [key]: given });
  if (!parsed.success) throw wrong(`${key}: ${parsed.error.issues[0]?.message ?? 'is not valid'}`);
  return { ...before, ...parsed.data };
}
