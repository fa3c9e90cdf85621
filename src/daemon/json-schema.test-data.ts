/** Values that a JSON schema allows, as far as the schemas of the API go, for tests. */
import fc from 'fast-check';
import { z } from 'zod';

export interface JsonSchema {
  $ref?: string | undefined;
  type?: string | string[] | undefined;
  const?: unknown;
  enum?: unknown[] | undefined;
  anyOf?: JsonSchema[] | undefined;
  oneOf?: JsonSchema[] | undefined;
  properties?: Record<string, JsonSchema> | undefined;
  required?: string[] | undefined;
  additionalProperties?: boolean | JsonSchema | undefined;
  propertyNames?: JsonSchema | undefined;
  items?: JsonSchema | undefined;
  minItems?: number | undefined;
  maxItems?: number | undefined;
  minLength?: number | undefined;
  maxLength?: number | undefined;
  minimum?: number | undefined;
  maximum?: number | undefined;
  pattern?: string | undefined;
}

export const JsonSchema: z.ZodType<JsonSchema> = z.lazy(() =>
  z.looseObject({
    $ref: z.string().optional(),
    type: z.union([z.string(), z.array(z.string())]).optional(),
    const: z.unknown().optional(),
    enum: z.array(z.unknown()).optional(),
    anyOf: z.array(JsonSchema).optional(),
    oneOf: z.array(JsonSchema).optional(),
    properties: z.record(z.string(), JsonSchema).optional(),
    required: z.array(z.string()).optional(),
    additionalProperties: z.union([z.boolean(), JsonSchema]).optional(),
    propertyNames: JsonSchema.optional(),
    items: JsonSchema.optional(),
    minItems: z.number().optional(),
    maxItems: z.number().optional(),
    minLength: z.number().optional(),
    maxLength: z.number().optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    pattern: z.string().optional(),
  }),
);

export interface ValueOptions {
  /** What `$ref` names. */
  schemas: Readonly<Record<string, JsonSchema>>;
  /** Texts that mean something to who is asked; taken often where a schema allows them. */
  words: readonly string[];
}

/** Arrays and texts are no longer than that: what is large is another test's. */
const MANY = 3;
const LONG = 80;

function textOf({ pattern, minLength = 0, maxLength = LONG }: JsonSchema, words: readonly string[]) {
  const expression = pattern === undefined ? undefined : new RegExp(pattern, 'u');
  const fits = (text: string) =>
    text.length >= minLength && text.length <= maxLength && (expression?.test(text) ?? true);
  const most = Math.min(maxLength, Math.max(minLength, LONG));
  const free = fc.string({ minLength, maxLength: most, unit: 'grapheme' });
  // what it cannot make, such as categories of Unicode, is made of any text
  const made =
    pattern === undefined || pattern.includes('\\p{') ? free : fc.stringMatching(new RegExp(pattern));
  const known = words.filter(fits);
  const any = made.filter(fits);
  return known.length === 0
    ? any
    : fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...known) }, { weight: 1, arbitrary: any });
}

/** Values that a schema allows. @throws for a keyword that it does not know how to meet */
export function allowedBy(schema: JsonSchema, options: ValueOptions): fc.Arbitrary<unknown> {
  const again = (each: JsonSchema) => allowedBy(each, options);
  if (schema.$ref !== undefined) {
    const named = options.schemas[schema.$ref.split('/').at(-1) ?? ''];
    if (named === undefined) throw new Error(`no schema ${schema.$ref}`);
    return again(named);
  }
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fc.oneof(...choices.map(again));
  if (Array.isArray(schema.type)) return fc.oneof(...schema.type.map((type) => again({ ...schema, type })));
  switch (schema.type) {
    case 'string':
      return textOf(schema, options.words);
    case 'number': {
      const { minimum: min = -1000, maximum: max = Math.max(min, 1000) } = schema;
      return fc.oneof(fc.constantFrom(min, max), fc.double({ min, max, noNaN: true }));
    }
    case 'integer': {
      const { minimum: min = -1000, maximum: max = Math.max(min, 1000) } = schema;
      return fc.oneof(fc.constantFrom(min, max), fc.integer({ min, max: Math.min(max, min + 1000) }));
    }
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array': {
      const { minItems = 0, maxItems = MANY, items = {} } = schema;
      return fc.array(again(items), {
        minLength: minItems,
        maxLength: Math.max(minItems, Math.min(maxItems, MANY)),
      });
    }
    case 'object': {
      const fields = Object.entries(schema.properties ?? {}).map(
        ([name, each]) => [name, again(each)] as const,
      );
      const record = fc.record(Object.fromEntries(fields), { requiredKeys: schema.required ?? [] });
      const { additionalProperties: more } = schema;
      if (typeof more !== 'object') return record;
      const names = textOf({ type: 'string', ...schema.propertyNames }, options.words);
      return fc
        .tuple(record, fc.dictionary(names, again(more), { maxKeys: MANY }))
        .map(([fixed, rest]) => ({ ...rest, ...fixed }));
    }
    case undefined:
      return fc.jsonValue();
    default:
      throw new Error(`no values of type ${schema.type}`);
  }
}
