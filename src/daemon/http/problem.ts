/** Failures as problems of RFC 9457, and what the frameworks say as errors of the catalogue. Pure. */
import type { z } from 'zod';
import { type ErrorParams, ShadowferryError, toShadowferryError } from '../../errors.ts';
import type { Problem } from '../api/model.ts';

type Mismatch = NonNullable<Problem['errors']>[number];

/** A request that does not fit its schema: INPUT_FIELD of the first mismatch, with all of them. */
export class RequestMismatch extends ShadowferryError<'INPUT_FIELD'> {
  readonly mismatches: readonly Mismatch[];

  constructor(mismatches: readonly Mismatch[]) {
    const [first] = mismatches;
    const where = first === undefined ? 'request' : `${first.in} ${first.pointer || '/'}`;
    super('INPUT_FIELD', { field: where, problem: first?.problem ?? 'does not fit' });
    this.mismatches = mismatches;
  }
}

/** How much of the input is repeated in an answer. */
const SHOWN = 200;

const short = (text: string) => (text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`);

const pointerOf = (path: readonly PropertyKey[]) =>
  path.map((key) => `/${short(String(key)).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

/** What a schema found, as mismatches of one part of the request. At most 20 of each part. */
export function mismatchesOf(part: Mismatch['in'], error: z.core.$ZodError): Mismatch[] {
  return error.issues.slice(0, 20).map((issue) => ({
    in: part,
    pointer: pointerOf(issue.path),
    problem: short(issue.message),
  }));
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** What somebody threw as an error of the catalogue; what the framework refuses is no defect of ours. */
export function catalogued(error: unknown, limits: { bodyBytes: number; type: string }): ShadowferryError {
  if (error instanceof ShadowferryError) return error;
  const malformed = (problem: string) =>
    new ShadowferryError('REQUEST_MALFORMED', { problem: short(problem) }, { cause: error });
  switch (codeOf(error)) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ShadowferryError('BODY_TOO_LARGE', { limit: limits.bodyBytes });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ShadowferryError('MEDIA_TYPE', { type: short(limits.type) });
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return malformed('the body is empty, and its type says that it is JSON');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
    case 'FST_ERR_ASYNC_CONSTRAINT':
    case 'ECONNRESET':
      return malformed(error instanceof Error ? error.message : String(error));
    default:
      // syntax errors of bodies, and prototypes in them
      if (error instanceof SyntaxError) return malformed(error.message);
      return toShadowferryError(error);
  }
}

const TITLES: Readonly<Record<number, string>> = {
  400: 'The request is not right',
  401: 'Who asks is not known',
  403: 'Not allowed',
  404: 'Not there',
  405: 'No such method',
  408: 'Too slow',
  409: 'Refused',
  413: 'Too large',
  415: 'Not understood',
  422: 'The request is not right',
  424: 'Something is missing',
  429: 'Too often',
  500: 'A defect of Shadowferry',
  502: 'It failed',
  503: 'Not now',
  504: 'It took too long',
};

function cut(params: ErrorParams): ErrorParams {
  return Object.fromEntries(
    Object.entries(params).map(([key, value]) => [
      key,
      typeof value === 'string' ? value.slice(0, 4096) : value,
    ]),
  );
}

/** What the client is told. Of a defect only where the log has more of it: its text may hold what is not for everybody. */
export function problemOf(error: ShadowferryError, requestId: string): Problem {
  const instance = `urn:shadowferry:request:${requestId}`;
  const told =
    error.code === 'INTERNAL'
      ? new ShadowferryError('INTERNAL', { why: `the log of the daemon has it under request ${requestId}` })
      : error;
  return {
    type: `urn:shadowferry:error:${told.code}`,
    title: TITLES[told.status] ?? told.kind,
    status: told.status,
    detail: told.message,
    instance,
    code: told.code,
    kind: told.kind,
    fix: told.fix,
    params: cut(told.params),
    ...(error instanceof RequestMismatch ? { errors: [...error.mismatches] } : {}),
  };
}
