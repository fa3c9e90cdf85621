/** What the schema of the configuration says of itself: the keys, and the reference page. Pure. */
import { z } from 'zod';
import { DaemonConfig } from './model.ts';

interface JsonSchema {
  type?: string | undefined;
  description?: string | undefined;
  default?: unknown | undefined;
  enum?: unknown[] | undefined;
  const?: unknown | undefined;
  properties?: Record<string, JsonSchema> | undefined;
  required?: string[] | undefined;
  items?: JsonSchema | undefined;
  additionalProperties?: JsonSchema | boolean | undefined;
  anyOf?: JsonSchema[] | undefined;
  oneOf?: JsonSchema[] | undefined;
  minimum?: number | undefined;
  maximum?: number | undefined;
}

const JsonSchema: z.ZodType<JsonSchema> = z.lazy(() =>
  z.object({
    type: z.string().optional(),
    description: z.string().optional(),
    default: z.unknown().optional(),
    enum: z.array(z.unknown()).optional(),
    const: z.unknown().optional(),
    properties: z.record(z.string(), JsonSchema).optional(),
    required: z.array(z.string()).optional(),
    items: JsonSchema.optional(),
    additionalProperties: z.union([z.boolean(), JsonSchema]).optional(),
    anyOf: z.array(JsonSchema).optional(),
    oneOf: z.array(JsonSchema).optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
  }),
);

/** The configuration as JSON Schema, as it is written (not as it is after parsing). */
export function configSchema(): JsonSchema {
  return JsonSchema.parse(z.toJSONSchema(DaemonConfig, { io: 'input', unrepresentable: 'any' }));
}

const alternatives = (schema: JsonSchema): JsonSchema[] => schema.anyOf ?? schema.oneOf ?? [schema];

function below(schema: JsonSchema, key: PropertyKey): JsonSchema[] {
  return alternatives(schema).flatMap((each) => {
    if (typeof key === 'number') return each.items === undefined ? [] : [each.items];
    const named = each.properties?.[String(key)];
    if (named !== undefined) return [named];
    return typeof each.additionalProperties === 'object' ? [each.additionalProperties] : [];
  });
}

/** The keys that are known at a place of the configuration. */
export function keysAt(path: readonly PropertyKey[]): string[] {
  let here = [configSchema()];
  for (const key of path) here = here.flatMap((schema) => below(schema, key));
  const keys = here.flatMap(alternatives).flatMap(({ properties = {} }) => Object.keys(properties));
  return [...new Set(keys)].sort();
}

interface Row {
  key: string;
  type: string;
  standard: string;
  text: string;
}

function typeText(schema: JsonSchema): string {
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  const bounds =
    schema.minimum !== undefined && schema.maximum !== undefined
      ? ` ${schema.minimum}–${schema.maximum}`
      : '';
  return `${schema.type === 'array' ? 'list' : schema.type === 'object' ? 'mapping' : (schema.type ?? '')}${bounds}`;
}

/** As it would be written in the file; the mode is an octal text there and a number afterwards. */
function defaultText(key: string, value: unknown, required: boolean): string {
  if (required) return '**needed**';
  if (key === 'socket.mode') return `\`"0${DaemonConfig.parse({ host: 'x' }).socket.mode.toString(8)}"\``;
  if (value === undefined) return '';
  if (typeof value === 'object') return '';
  return `\`${String(value)}\``;
}

function rows(schema: JsonSchema, prefix: string): Row[] {
  return alternatives(schema).flatMap((each) => {
    const named = Object.entries(each.properties ?? {}).flatMap(([name, property]) => {
      const key = `${prefix}${name}`;
      const required = each.required?.includes(name) ?? false;
      const row = {
        key,
        type: typeText(property),
        standard: defaultText(key, property.default, required),
        text: property.description ?? '',
      };
      const inner =
        property.items === undefined ? rows(property, `${key}.`) : rows(property.items, `${key}[].`);
      const own = inner.length > 0 && row.text === '' ? [] : [row];
      return [...own, ...inner];
    });
    const any =
      typeof each.additionalProperties === 'object' ? rows(each.additionalProperties, `${prefix}NAME.`) : [];
    return [...named, ...any];
  });
}

/** docs/config.md, whole. */
export function configPage(): string {
  const seen = new Set<string>();
  const all = rows(configSchema(), '').filter(
    ({ key, type }) => !seen.has(`${key} ${type}`) && seen.add(`${key} ${type}`),
  );
  const table = all.map(
    ({ key, type, standard, text }) => `| \`${key}\` | ${type} | ${standard} | ${text} |`,
  );
  return `${[
    '<!-- Made from src/daemon/config/model.ts by scripts/gen-api.ts: change it there. -->',
    '# Configuration of the daemon',
    'One file in YAML. `shadowferry daemon --config FILE --check` reads it and says what is wrong, each with file, line and column, and starts nothing. A key that is not in this table is refused. Paths are absolute.',
    ['| key | value | when left out | meaning |', '| --- | --- | --- | --- |', ...table].join('\n'),
    'A small one:',
    ['```yaml', EXAMPLE.trimEnd(), '```'].join('\n'),
  ].join('\n\n')}\n`;
}

/** A configuration that is valid; a test holds it so. */
export const EXAMPLE = `host: alpha
socket:
  group: shadowferry
networks:
  lan: { bridge: br0 }
devices:
  - { id: nic0, network: lan, address: "0000:03:00.0" }
  - { id: nic1, network: lan, model: e1000e }
listen:
  address: 192.0.2.10:7443
  certificate: /etc/shadowferry/pki/alpha.crt
  key: /etc/shadowferry/pki/alpha.key
  clientCa: /etc/shadowferry/pki/ca.crt
  revoked: /etc/shadowferry/pki/revoked.json
peers:
  - { name: beta, address: "192.0.2.11:7443" }
`;
