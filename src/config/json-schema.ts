/** The JSON Schema of a configuration, for editors and other programs; shipped as `docs/basewire.schema.json`. */
import { z } from 'zod';
import { configSchema, NAME_PATTERN } from './schema.ts';

/** The part of JSON Schema that ours consists of. */
export interface JsonSchema {
  type?: string;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  propertyNames?: JsonSchema;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  oneOf?: unknown[];
  [key: string]: unknown;
}

let made: JsonSchema | undefined;

/** Made once; nobody may change it. */
export function configJsonSchema(): JsonSchema {
  made ??= makeSchema();
  return made;
}

function makeSchema(): JsonSchema {
  const schema = z.toJSONSchema(configSchema, { io: 'input' }) as JsonSchema;
  for (const key of ['networks', 'vms', 'adapters']) {
    schema.properties![key]!.propertyNames = { type: 'string', pattern: NAME_PATTERN.source };
  }
  for (const key of ['networks', 'vms']) schema.properties![key]!.minProperties = 1;
  const vm = schema.properties!.vms!.additionalProperties as JsonSchema;
  vm.oneOf = [{ required: ['socket'] }, { required: ['sockets'] }];
  return {
    $schema: schema.$schema,
    $id: 'https://basewire.invalid/basewire.schema.json',
    title: 'basewire configuration',
    ...schema,
  };
}

/** Keys allowed at a path of the configuration; [] where none are. */
export function keysAt(schema: JsonSchema, path: readonly PropertyKey[]): string[] {
  return Object.keys(objectForm(schemaAt(schema, path))?.properties ?? {});
}

/** What the schema says that a value is for; '' where it says nothing. */
export function descriptionAt(schema: JsonSchema, path: readonly PropertyKey[]): string {
  return String(schemaAt(schema, path)?.description ?? '');
}

/** Whether `{}` is a value there. (Of lists, none that may be empty has to be there, and an empty one may say something else.) */
export function mayBeEmptyMapping(schema: JsonSchema, path: readonly PropertyKey[]): boolean {
  const at = schemaAt(schema, path);
  const needs = [at?.required ?? [], at?.oneOf ?? []].flat().length > 0;
  return at?.type === 'object' && !needs && at.minProperties === undefined;
}

/** The types that what is in the list at a path may have; [] where there is no list. */
export function itemTypes(schema: JsonSchema, path: readonly PropertyKey[]): string[] {
  const items = schemaAt(schema, path)?.items;
  return (items?.anyOf ?? [items]).flatMap((form) => form?.type ?? []);
}

/** Whether the value at a path may be left out. */
export function mayBeMissing(schema: JsonSchema, path: readonly PropertyKey[]): boolean {
  const required = schemaAt(schema, path.slice(0, -1))?.required;
  return !(Array.isArray(required) && required.includes(path.at(-1)));
}

function schemaAt(schema: JsonSchema, path: readonly PropertyKey[]): JsonSchema | undefined {
  let at: JsonSchema | undefined = schema;
  for (const step of path) {
    at = objectForm(at);
    if (typeof step === 'number') at = at?.items;
    else if (at?.properties && Object.hasOwn(at.properties, step)) at = at.properties[String(step)];
    else at = typeof at?.additionalProperties === 'object' ? at.additionalProperties : undefined;
  }
  return at;
}

function objectForm(schema: JsonSchema | undefined): JsonSchema | undefined {
  return schema?.anyOf?.find((form) => form.type === 'object') ?? schema;
}
