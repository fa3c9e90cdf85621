import { z } from 'zod';
import { apiDocument } from '../src/daemon/api/openapi.ts';

const Reference = z.looseObject({ $ref: z.string().optional() });
const Parameter = z.object({
  name: z.string(),
  in: z.string(),
  required: z.boolean(),
  description: z.string().optional(),
});
const Operation = z.looseObject({
  operationId: z.string(),
  tags: z.array(z.string()),
  summary: z.string(),
  'x-role': z.string(),
  parameters: z.array(Parameter).default([]),
  requestBody: z.object({ content: z.record(z.string(), z.object({ schema: z.unknown() })) }).optional(),
  responses: z.record(
    z.string(),
    z.object({ content: z.record(z.string(), z.object({ schema: z.unknown() })) }),
  ),
});
const Document = z.object({
  paths: z.record(z.string(), z.record(z.string(), Operation)),
  components: z.object({ schemas: z.record(z.string(), z.unknown()) }),
});

/** A JSON schema in one line, for people. */
function shape(schema: unknown): string {
  const parsed = z
    .looseObject({
      $ref: z.string().optional(),
      type: z.union([z.string(), z.array(z.string())]).optional(),
      enum: z.array(z.unknown()).optional(),
      const: z.unknown(),
      items: z.unknown(),
      anyOf: z.array(z.unknown()).optional(),
      properties: z.record(z.string(), z.unknown()).optional(),
    })
    .partial()
    .parse(schema);
  if (parsed.$ref !== undefined) {
    const name = parsed.$ref.split('/').at(-1) ?? '';
    return `[${name}](#${name.toLowerCase()})`;
  }
  if (parsed.enum !== undefined) return parsed.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (parsed.const !== undefined) return `\`${String(parsed.const)}\``;
  if (parsed.anyOf !== undefined) return parsed.anyOf.map(shape).join(' or ');
  if (parsed.type === 'array') return `list of ${shape(parsed.items)}`;
  if (parsed.properties !== undefined) {
    const fields = Object.entries(parsed.properties).map(([name, each]) => `\`${name}\` ${shape(each)}`);
    return `{ ${fields.join('; ')} }`;
  }
  return typeof parsed.type === 'string' ? parsed.type : 'anything';
}

function fieldsOf(schema: unknown): string[] {
  const parsed = z.looseObject({ properties: z.record(z.string(), z.unknown()).default({}) }).parse(schema);
  return Object.entries(parsed.properties).map(([name, each]) => {
    const { description } = z.looseObject({ description: z.string().optional() }).parse(each);
    return `| \`${name}\` | ${shape(each).replaceAll('|', '\\|')} | ${description ?? ''} |`;
  });
}

function operationText(method: string, path: string, operation: z.infer<typeof Operation>): string[] {
  const { summary, parameters, requestBody, responses } = operation;
  const [status = '', success] = Object.entries(responses)[0] ?? [];
  const [type, content] = Object.entries(success?.content ?? {})[0] ?? [];
  const body = Object.values(requestBody?.content ?? {})[0];
  const rows = parameters.map(
    ({ name, in: where, required, description }) =>
      `| \`${name}\` | ${where}${required ? '' : ', optional'} | ${description ?? ''} |`,
  );
  return [
    `### ${method.toUpperCase()} ${path}`,
    `${summary}. Needs: ${operation['x-role']}.`,
    ...(rows.length === 0
      ? []
      : [['| parameter | in | meaning |', '| --- | --- | --- |', ...rows].join('\n')]),
    ...(body === undefined ? [] : [`Body: ${shape(body.schema)}`]),
    `Answer: ${status}, ${type === 'application/json' ? shape(content?.schema) : `\`${type}\``}`,
  ];
}

const PREAMBLE = [
  'The daemon of each host serves this API on its Unix socket and, if it is told so, on TCP by TLS 1.3. The same document for programs is at `GET /openapi.json` (OpenAPI 3.1). It is made from the schemas that check every request and every answer.',
  '**Who asks.** Over the Unix socket: an administrator, as only those can connect whom its permissions let. Over TLS: what the client certificate says, or a token (`authorization: Bearer …`) where the configuration takes tokens. Roles: `viewer` may look, `operator` may act, `admin` may do everything; each may do what those before it may. A token that is shown over the socket takes the place of the rights of the socket.',
  '**Failures** are problems of RFC 9457 (`application/problem+json`, see [Problem](#problem)) with a code of the [catalogue](errors.md), what to do, and the id of the request, which stands in the log of the daemon and in the header `x-request-id`.',
  '**Lists** come in pieces: `limit` items, and in `next` the `cursor` of the next piece. A cursor belongs to its list and filters.',
  '**Twice** is once: calls that say so take the header `idempotency-key`. The same key with the same request gives the first answer again, with the header `idempotency-replayed: true`, for 24 hours; with another request it is refused. Where the daemon ended in the middle of a request, the key is refused and the message says that it is not known how far it came.',
  '**Events**: `GET /v1/events` is a stream of server-sent events. Each has a number; who comes back says the last one, by the header `last-event-id` or by `after`, and gets what it missed. `event: reset` says that the place is gone: look at everything anew. Whoever reads too slowly is dropped. `event: refused` says that the rights of the reader were taken back. Types: `daemon.started`, `daemon.stopping`, `host.examined`, `vm.state`, `vm.forgotten`, `incoming.state` and those of [migrations](migrations.md#events-and-figures).',
  '**Limits**: bodies of 1 MiB; headers of 16 KiB; requests per second of one principal, streams and connections as configured ([config.md](config.md)).',
  '`shadowferry --host /run/shadowferry/daemon.sock migrations` and `… explain ID` are clients of it; with `--host https://HOST:PORT --ca FILE --cert FILE --key FILE` (or `--token-file FILE`) of that of another host.',
];

/** docs/api.md, whole: the calls and the things they give. Pure. */
export function apiPage(): string {
  const { paths, components } = Document.parse(apiDocument('x'));
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })),
  );
  const tags = Map.groupBy(all, ({ operation }) => operation.tags[0] ?? '');
  const calls = [...tags].flatMap(([tag, each]) => [
    `## ${tag}`,
    ...each.flatMap(({ method, path, operation }) => operationText(method, path, operation)),
  ]);
  const things = Object.entries(components.schemas)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, schema]) => [
      `### ${name}`,
      ...[Reference.parse(schema).description].filter((text) => typeof text === 'string'),
      ['| field | value | meaning |', '| --- | --- | --- |', ...fieldsOf(schema)].join('\n'),
    ]);
  return `${[
    '<!-- Made from src/daemon/api by scripts/gen-api.ts: change it there. -->',
    '# API',
    ...PREAMBLE,
    ...calls,
    '## Things',
    ...things,
  ].join('\n\n')}\n`;
}
