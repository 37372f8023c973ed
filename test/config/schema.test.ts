/** The shipped JSON Schema and the documentation say what the program does. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { configJsonSchema, type JsonSchema } from '../../src/config/json-schema.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

it('docs/basewire.schema.json is current (npm run build && node dist/cli.js schema > docs/basewire.schema.json)', () => {
  expect(JSON.parse(read('docs/basewire.schema.json'))).toEqual(
    JSON.parse(JSON.stringify(configJsonSchema())),
  );
});

it('docs/configuration.md names every key', () => {
  const text = read('docs/configuration.md');
  for (const key of keysOf(configJsonSchema())) expect(text).toContain(`\`${key}\``);
});

it('docs/50-basewire.json is a vhost-user description file', () => {
  expect(JSON.parse(read('docs/50-basewire.json'))).toMatchObject({ type: 'net' });
});

function keysOf(schema: JsonSchema): Set<string> {
  const found = new Set<string>();
  const visit = (at: JsonSchema | boolean | undefined): void => {
    if (typeof at !== 'object') return;
    for (const [key, value] of Object.entries(at.properties ?? {})) {
      found.add(key);
      visit(value);
    }
    visit(at.additionalProperties);
    visit(at.items);
    at.anyOf?.forEach(visit);
  };
  visit(schema);
  return found;
}
