/** Every call of the API document, with what its schemas do not allow: always refused with a code, and nothing changes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { isErrorCode } from '../errors.ts';
import { problemIn, type TestDaemon, testDaemon } from './fixture.test-data.ts';

const RUNS = process.env.SHADOWFERRY_LONG === undefined ? 60 : 1000;

interface Schema {
  type?: string | undefined;
  pattern?: string | undefined;
  enum?: unknown[] | undefined;
  const?: unknown;
  anyOf?: Schema[] | undefined;
  minimum?: number | undefined;
  maximum?: number | undefined;
}
const Schema: z.ZodType<Schema> = z.lazy(() =>
  z.looseObject({
    type: z.string().optional(),
    pattern: z.string().optional(),
    enum: z.array(z.unknown()).optional(),
    const: z.unknown().optional(),
    anyOf: z.array(Schema).optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
  }),
);
const Parameter = z.object({ name: z.string(), in: z.enum(['path', 'query', 'header']), schema: Schema });
const Operation = z.object({
  operationId: z.string(),
  parameters: z.array(Parameter).default([]),
  requestBody: z
    .object({ content: z.object({ 'application/json': z.object({ schema: z.unknown() }) }) })
    .optional(),
});
type Operation = z.infer<typeof Operation> & { method: string; path: string };

const Document = z.object({ paths: z.record(z.string(), z.record(z.string(), Operation)) });

async function operationsOf({ send }: TestDaemon): Promise<Operation[]> {
  const { body } = await send('/openapi.json');
  const { paths } = Document.parse(JSON.parse(body));
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...operation,
      path,
      method: method.toUpperCase(),
    })),
  );
}

/** Whether a text fits the schema of a parameter; written apart from the code that checks requests. */
function fits(schema: Schema, text: string): boolean {
  if (schema.anyOf !== undefined) return schema.anyOf.some((each) => fits(each, text));
  if (schema.const !== undefined) return text === schema.const;
  if (schema.enum !== undefined) return schema.enum.includes(text);
  if (schema.type === 'integer') {
    const value = Number(text);
    return (
      Number.isInteger(value) &&
      value >= (schema.minimum ?? -Infinity) &&
      value <= (schema.maximum ?? Infinity)
    );
  }
  return schema.pattern === undefined || new RegExp(schema.pattern, 'u').test(text);
}

const anyText = fc.oneof(
  fc.string({ maxLength: 40, unit: 'binary' }),
  fc.string({ maxLength: 300 }),
  fc.constantFrom(
    '0',
    '-1',
    '1e99',
    'NaN',
    '9007199254740993',
    '1.5',
    'true',
    'null',
    '[]',
    '../..',
    '%',
    'last ',
    ' ',
    '\u0000',
  ),
  fc.double().map(String),
);

/** A value that a parameter may have. */
function fitting(schema: Schema): string {
  const candidates = ['web1', '1', 'last', 'true', 'open', 'ended', ...(schema.enum ?? []).map(String)];
  return (
    candidates.find((text) => fits(schema, text)) ?? assert.fail(`nothing fits ${JSON.stringify(schema)}`)
  );
}

interface Attempt {
  path: string;
  headers: Record<string, string>;
  body?: string;
}

function url(
  operation: Operation,
  values: ReadonlyMap<string, string>,
  more: Record<string, string> = {},
): string {
  const query = new URLSearchParams(more);
  let { path } = operation;
  for (const { name, in: where } of operation.parameters) {
    const value = values.get(name);
    if (value === undefined) continue;
    if (where === 'path') path = path.replace(`{${name}}`, () => encodeURIComponent(value));
    if (where === 'query') query.set(name, value);
  }
  const text = query.toString();
  return text === '' ? path : `${path}?${text}`;
}

/** Requests that an operation's schema forbids. */
function violations(operation: Operation): fc.Arbitrary<Attempt> {
  const good = new Map(
    operation.parameters
      .filter((each) => each.in === 'path')
      .map(({ name, schema }) => [name, fitting(schema)]),
  );
  const all: fc.Arbitrary<Attempt>[] = operation.parameters.map(({ name, in: where, schema }) =>
    anyText
      .filter((text) => !fits(schema, text) && (where !== 'path' || text !== ''))
      .map((text) =>
        where === 'header'
          ? {
              path: url(operation, good),
              headers: {
                [name]: Buffer.from(`\u00e9${text}`, 'utf8')
                  .toString('latin1')
                  .replaceAll(/[^\x20-\x7e\xa0-\xff]/g, ' '),
              },
            }
          : { path: url(operation, new Map([...good, [name, text]])), headers: {} },
      ),
  );
  const strange = fc
    .string({ minLength: 1, maxLength: 20 })
    .filter((name) => !operation.parameters.some((each) => each.name === name));
  const takesQuery =
    !['health', 'document', 'metrics'].includes(operation.operationId) || operation.operationId === 'health';
  if (takesQuery)
    all.push(strange.map((name) => ({ path: url(operation, good, { [name]: 'x' }), headers: {} })));
  if (operation.requestBody !== undefined) {
    const body = fc.oneof(
      fc.string({ minLength: 1 }).filter((text) => !isJson(text)),
      fc
        .dictionary(
          fc.string({ minLength: 1 }).filter((key) => key !== 'fresh'),
          fc.jsonValue(),
          { minKeys: 1 },
        )
        .map((value) => JSON.stringify(value)),
      fc
        .jsonValue()
        .filter((value) => typeof value !== 'boolean')
        .map((fresh) => JSON.stringify({ fresh })),
      fc
        .oneof(fc.array(fc.jsonValue()), fc.integer(), fc.string(), fc.boolean())
        .map((value) => JSON.stringify(value)),
    );
    all.push(
      body.map((text) => ({
        path: url(operation, good),
        headers: { 'content-type': 'application/json' },
        body: text,
      })),
    );
  }
  return fc.oneof(...all);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test('a request that a schema forbids is always refused with a code of the catalogue, and changes nothing', async (t) => {
  const daemon = await testDaemon(t);
  const operations = (await operationsOf(daemon)).filter(
    ({ operationId }) => !['document', 'metrics'].includes(operationId),
  );
  assert.ok(operations.length >= 15, String(operations.length));
  let sent = 0;
  for (const operation of operations) {
    await fc.assert(
      fc.asyncProperty(violations(operation), async ({ path, headers, body }) => {
        sent += 1;
        const reply = await daemon.send(path, {
          method: operation.method,
          headers,
          ...(body === undefined ? {} : { body }),
        });
        const told = `${operation.method} ${path} ${body ?? ''} ${JSON.stringify(headers)}: ${reply.status} ${reply.body}`;
        assert.ok(reply.status >= 400 && reply.status < 500, told);
        assert.ok(isErrorCode(problemIn(reply).code), told);
      }),
      { numRuns: RUNS },
    );
  }
  assert.equal(daemon.looks(), 0, 'nothing was done');
  assert.equal(daemon.daemon.hub.readers, 0);
  t.diagnostic(`${sent} requests to ${operations.length} calls`);
});

test('any method on any path has an answer, and none of them is a defect', async (t) => {
  const { send } = await testDaemon(t);
  const word = fc.oneof(
    fc.constantFrom('v1', 'hosts', 'migrations', 'shadows', 'devices', 'health', '..', '.', ''),
    fc.string({ maxLength: 12, unit: 'binary' }).map(encodeURIComponent),
  );
  const path = fc.array(word, { maxLength: 6 }).map((words) => `/${words.join('/')}`);
  const method = fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE');
  await fc.assert(
    fc.asyncProperty(method, path, async (how, where) => {
      if (how === 'GET' && where === '/v1/events') return;
      const reply = await send(where, { method: how });
      assert.ok(reply.status < 500, `${how} ${where}: ${reply.status} ${reply.body}`);
    }),
    { numRuns: RUNS * 4 },
  );
});
