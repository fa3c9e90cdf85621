/** The API as an OpenAPI 3.1 document, from the schemas that check it. Pure. */
import { z } from 'zod';
import { KINDS } from '../../errors.ts';
import { API } from './contract.ts';
import type { Endpoint } from './endpoint.ts';
import { ApiEvent, Problem } from './model.ts';

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const Json: z.ZodType<Json> = z.json();
const JsonObject: z.ZodType<JsonObject> = z.record(z.string(), Json);

/** Schemas that have a name, as they are met. */
class Components {
  readonly schemas: JsonObject = {};

  /** A schema with references to the named ones. */
  schema(schema: z.ZodType, io: 'input' | 'output'): JsonObject {
    const made = z.toJSONSchema(schema, { io, unrepresentable: 'any', target: 'draft-2020-12' });
    const text = JSON.stringify(made).replaceAll('"#/$defs/', '"#/components/schemas/');
    const { $schema: _, $defs, id, ...rest } = JsonObject.parse(JSON.parse(text));
    for (const [name, each] of Object.entries(JsonObject.parse($defs ?? {}))) this.#add(name, each);
    if (typeof id !== 'string') return rest;
    this.#add(id, rest);
    return { $ref: `#/components/schemas/${id}` };
  }

  #add(name: string, schema: Json): void {
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) return;
    const { id: _, ...rest } = schema;
    this.schemas[name] = rest;
  }
}

/** Parameters of one kind, from the object that describes them. */
function parameters(components: Components, schema: z.ZodType, where: 'path' | 'query'): Json[] {
  const { properties = {}, required = [] } = components.schema(schema, 'input');
  const needed = z.array(z.string()).parse(required);
  return Object.entries(JsonObject.parse(properties)).map(([name, each]) => {
    const { description, ...rest } = JsonObject.parse(each);
    return {
      name,
      in: where,
      required: where === 'path' || needed.includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

const IDEMPOTENCY: Json = {
  name: 'idempotency-key',
  in: 'header',
  required: false,
  description:
    'The same key with the same request acts once within 24 hours; the first answer is given again.',
  schema: { type: 'string', pattern: '^[\\x21-\\x7e]{1,128}$' },
};

const problem: Json = {
  description: 'A problem',
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
};

const about = (needs: Endpoint['needs']) => ({
  'x-role': needs,
  security: needs === 'anyone' ? [] : [{ token: [] }, { certificate: [] }, { socket: [] }],
});

function operation(components: Components, name: string, endpoint: Endpoint): JsonObject {
  const { tag, summary, params, query, body, answer, status, needs, idempotent, method } = endpoint;
  const all = [
    ...parameters(components, params, 'path'),
    ...parameters(components, query, 'query'),
    ...(idempotent ? [IDEMPOTENCY] : []),
  ];
  return {
    operationId: name,
    tags: [tag],
    summary,
    ...about(needs),
    ...(all.length === 0 ? {} : { parameters: all }),
    ...(method === 'POST'
      ? {
          requestBody: {
            required: false,
            content: { 'application/json': { schema: components.schema(body, 'input') } },
          },
        }
      : {}),
    responses: {
      [String(status)]: {
        description: 'Done',
        content: { 'application/json': { schema: components.schema(answer, 'output') } },
      },
      default: problem,
    },
  };
}

function text(name: string, summary: string, type: string, schema: JsonObject): JsonObject {
  return {
    operationId: name,
    tags: ['daemon'],
    summary,
    ...about('viewer'),
    responses: { '200': { description: 'Done', content: { [type]: { schema } } }, default: problem },
  };
}

/** The whole document. @param version of this program */
export function apiDocument(version: string): JsonObject {
  const components = new Components();
  components.schema(Problem, 'output');
  const event = components.schema(ApiEvent, 'output');
  const paths: Record<string, JsonObject> = {};
  for (const [name, endpoint] of Object.entries<Endpoint>(API)) {
    const made = { [endpoint.method.toLowerCase()]: operation(components, name, endpoint) };
    paths[endpoint.path] = { ...paths[endpoint.path], ...made };
  }
  const after: Json = {
    name: 'after',
    in: 'query',
    required: false,
    description:
      'Number of the last event that the reader has. Without it: only what comes. The header `last-event-id` goes before it.',
    schema: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
  };
  paths['/v1/events'] = {
    get: {
      ...text('events', 'What happens, as server-sent events', 'text/event-stream', {
        type: 'string',
        description: 'Each `data:` is an Event.',
      }),
      parameters: [after],
      'x-event': event,
    },
  };
  paths['/openapi.json'] = { get: text('document', 'This document', 'application/json', { type: 'object' }) };
  paths['/metrics'] = { get: text('metrics', 'Figures for Prometheus', 'text/plain', { type: 'string' }) };
  return {
    openapi: '3.1.0',
    info: {
      title: 'Shadowferry',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description: `Every failure is a problem of RFC 9457 with a code of the catalogue; kinds: ${Object.keys(KINDS).join(', ')}.`,
    },
    paths,
    components: {
      schemas: components.schemas,
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer' },
        certificate: { type: 'mutualTLS' },
        socket: {
          type: 'apiKey',
          in: 'header',
          name: 'host',
          description: 'None: who can connect to the Unix socket is an administrator.',
        },
      },
    },
  };
}
