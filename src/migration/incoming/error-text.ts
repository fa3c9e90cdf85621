/** Errors as the two daemons send and journal them. Pure. */
import { isErrorCode, ShadowferryError } from '../../errors.ts';
import type { ErrorText } from './wire-model.ts';

/** An error as it is sent. */
export const errorText = ({ code, params }: ShadowferryError): ErrorText => ({ code, params });

/** An error as if it had been met here; one that this program does not know is told as it came. */
export function errorOf({ code, params }: ErrorText): ShadowferryError {
  if (isErrorCode(code)) return new ShadowferryError(code, params);
  return new ShadowferryError('MIGRATION_FAILED', {
    why: `the destination says ${code} ${JSON.stringify(params)}`,
  });
}
