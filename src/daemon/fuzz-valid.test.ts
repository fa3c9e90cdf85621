/**
 * Every call of the API document, with what its schemas allow, in any order: whatever is asked is done, or refused with a
 * code that says why, and never a defect. The host's QEMUs are fake ones.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { isErrorCode } from '../errors.ts';
import { problemIn, type TestDaemon, testDaemon } from './fixture.test-data.ts';
import { allowedBy, JsonSchema, type ValueOptions } from './json-schema.test-data.ts';
import { makeBench } from './vms/fixture.test-data.ts';

const RUNS = process.env.SHADOWFERRY_LONG === undefined ? 400 : 8000;
const WORDS = [
  'web1',
  'web2',
  'net0',
  'nic0',
  'nic1',
  'alpha',
  'beta',
  'lan',
  'q35',
  '52:54:00:5f:00:10',
  '/boot/x',
];
/** A wait that is asked for is waited for: the longest are another test's. */
const WAITS: Readonly<Record<string, JsonSchema>> = {
  waitSeconds: { type: 'integer', minimum: 1, maximum: 1 },
  attachMs: { type: 'integer', minimum: 1, maximum: 50 },
};

const Operation = z.object({
  operationId: z.string(),
  parameters: z
    .array(
      z.object({
        name: z.string(),
        in: z.enum(['path', 'query', 'header']),
        required: z.boolean().default(false),
        schema: JsonSchema,
      }),
    )
    .default([]),
  requestBody: z
    .object({ content: z.object({ 'application/json': z.object({ schema: JsonSchema }) }) })
    .optional(),
});
const Document = z.object({
  paths: z.record(z.string(), z.record(z.string(), Operation)),
  components: z.object({ schemas: z.record(z.string(), JsonSchema) }),
});

interface Request {
  operation: string;
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: string;
}

/** The same schema with short waits. */
function hurried(schema: JsonSchema): JsonSchema {
  const { properties } = schema;
  if (properties === undefined) return schema;
  const changed = Object.entries(properties).map(([name, each]) => [name, WAITS[name] ?? each]);
  return { ...schema, properties: Object.fromEntries(changed) };
}

async function requestsOf({ send }: TestDaemon): Promise<fc.Arbitrary<Request>> {
  const { paths, components } = Document.parse(JSON.parse((await send('/openapi.json')).body));
  const schemas = Object.fromEntries(
    Object.entries(components.schemas).map(([name, schema]) => [name, hurried(schema)]),
  );
  const options: ValueOptions = { schemas, words: WORDS };
  const all = Object.entries(paths).flatMap(([template, methods]) =>
    Object.entries(methods).flatMap(([method, { operationId, parameters, requestBody }]) => {
      if (operationId === 'events') return []; // it does not end
      const values = parameters.map(({ name, in: where, required, schema }) => {
        const value = allowedBy(WAITS[name] ?? schema, options).map(String);
        return (required || where === 'path' ? value : fc.option(value, { nil: undefined })).map(
          (text) => [where, name, text] as const,
        );
      });
      const { schema } = requestBody?.content['application/json'] ?? {};
      const body = schema === undefined ? fc.constant(undefined) : allowedBy(hurried(schema), options);
      const request = fc.tuple(fc.tuple(...values), body).map(([given, content]): Request => {
        const at = (wanted: string): [string, string][] =>
          given.flatMap(([where, name, text]) =>
            where === wanted && text !== undefined ? [[name, text]] : [],
          );
        const path = at('path').reduce(
          (text, [name, value]) => text.replace(`{${name}}`, () => encodeURIComponent(value)),
          template,
        );
        const query = new URLSearchParams(at('query')).toString();
        const sent = content === undefined ? {} : { body: JSON.stringify(content) };
        const type = content === undefined ? {} : { 'content-type': 'application/json' };
        return {
          ...{ operation: operationId, method: method.toUpperCase() },
          path: query === '' ? path : `${path}?${query}`,
          headers: { ...Object.fromEntries(at('header')), ...type },
          ...sent,
        };
      });
      return [request];
    }),
  );
  assert.ok(all.length >= 30, `${all.length} calls`);
  return fc.oneof(...all);
}

test('whatever the schemas allow is done or refused with a code, in any order, and is never a defect', async (t) => {
  const { host } = makeBench(t);
  const daemon = await testDaemon(t, {}, { machine: host, workMs: 1000 });
  // something to ask about
  const headers = { 'content-type': 'application/json' };
  const web1 = JSON.stringify({ name: 'web1', memoryMiB: 64, boot: { kernel: '/boot/x' } });
  for (const [path, body] of [
    ['/v1/vms', web1],
    ['/v1/vms/web1/start', '{}'],
  ] as const) {
    const reply = await daemon.send(path, { method: 'POST', headers, body });
    assert.ok(reply.status < 300, reply.body);
  }
  const statuses = new Map<string, number>();
  const done = new Set<string>();
  await fc.assert(
    fc.asyncProperty(await requestsOf(daemon), async ({ operation, method, path, headers, body }) => {
      const reply = await daemon.send(path, { method, headers, ...(body === undefined ? {} : { body }) });
      const told = `${method} ${path} ${body ?? ''} ${JSON.stringify(headers)}: ${reply.status} ${reply.body}`;
      statuses.set(String(reply.status), (statuses.get(String(reply.status)) ?? 0) + 1);
      if (reply.status < 300) {
        done.add(operation);
        return;
      }
      const { code } = problemIn(reply);
      assert.ok(isErrorCode(code) && code !== 'INTERNAL', told);
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  t.diagnostic(`${[...statuses].map((each) => each.join(': ')).join(', ')}; done: ${[...done].join(', ')}`);
  assert.ok(done.size >= 8, [...done].join(', '));
  assert.equal((await daemon.send('/v1/health')).status, 200);
});
