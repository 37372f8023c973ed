/** Turns what the schema finds wrong into complaints that a person can act on. */
import type { z } from 'zod';
import {
  descriptionAt,
  itemTypes,
  type JsonSchema,
  keysAt,
  mayBeEmptyMapping,
  mayBeMissing,
} from './json-schema.ts';
import type { Complaint, ConfigSource, Path } from './source.ts';
import { didYouMean } from './suggest.ts';

type Issue = z.core.$ZodIssue;

/** The complaints behind one zod issue. */
export function issueComplaints(
  issue: Issue,
  source: ConfigSource,
  schema: JsonSchema,
): Complaint[] {
  const path = issue.path;
  const value = valueAt(source.raw, path);
  const at = (where: Path, text: string, which: 'key' | 'value' = 'value'): Complaint => ({
    ...source.position(where, which),
    path: where,
    text,
  });
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => {
        const known = keysAt(schema, path);
        const hint = didYouMean(key, known) || ` (known: ${known.join(', ')})`;
        return at([...path, key], `unknown key${hint}`, 'key');
      });
    case 'invalid_union': {
      // Of several forms, complain about the one that was meant: the one whose own type fits.
      const meant = issue.errors.find((errors) => !errors.some(isWrongType));
      if (meant === undefined) {
        return [at(path, `must be ${formsOf(issue.errors)}, not ${nameOf(value)}`)];
      }
      return meant.flatMap((inner) =>
        issueComplaints({ ...inner, path: [...path, ...inner.path] } as Issue, source, schema),
      );
    }
    case 'invalid_type':
      if (value === undefined)
        return [at(path, `is missing: ${descriptionAt(schema, path)}`, 'key')];
      if (value === null) return [at(path, wrongType(issue, value) + whenEmpty(schema, path))];
      return [at(path, wrongType(issue, value) + asList(schema, path, value))];
    case 'invalid_value': {
      const known = issue.values.map(String);
      const hint = typeof value === 'string' ? didYouMean(value, known) : '';
      return [at(path, `must be ${list(known)}, not ${nameOf(value)}${hint}`)];
    }
    case 'too_big':
    case 'too_small':
      // Of a text in a list's place its letters were counted.
      if (itemTypes(schema, path).length > 0 && !Array.isArray(value)) return [];
      return [at(path, `${issue.message}, not ${nameOf(value)}`)];
    default:
      return [at(path, `${issue.message}, not ${nameOf(value)}`)];
  }
}

/** The value itself is of another type than this form's, or none of the words that it allows. */
function isWrongType(issue: Issue): boolean {
  return (
    issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value')
  );
}

function wrongType(issue: Issue & { code: 'invalid_type' }, value: unknown): string {
  const expected = String(issue.expected);
  const numeric = expected === 'number' || expected === 'int';
  if (numeric && typeof value === 'number') return `${issue.message}, not ${value}`;
  // The schema's own words name range and unit.
  const words = issue.message.startsWith('must ')
    ? issue.message
    : `must be ${TYPES[expected] ?? expected}`;
  const rule = `${words}, not ${nameOf(value)}`;
  if (numeric && typeof value === 'string') {
    if (/^\d+$/.test(value)) return `${rule}: write it without quotes`;
    if (/^\d+ ?\p{L}+$/u.test(value)) return `${rule}: write the number alone`;
  }
  if (expected === 'boolean' && typeof value === 'string') return `${rule}: write true or false`;
  if (words === 'must be text' && typeof value === 'number') return `${rule}: put it in quotes`;
  return rule;
}

/** A value where a list of such values is wanted: how that is written. */
function asList(schema: JsonSchema, path: Path, value: unknown): string {
  const fits = itemTypes(schema, path).some((type) =>
    type === 'integer' ? Number.isInteger(value) : typeof value === type,
  );
  if (!fits) return '';
  const text = String(value);
  if (/^-[^\s-]/.test(text) && typeof value === 'string')
    return ': is there no space behind a dash?';
  return text.length <= 64 && /^[\w.:/-]+(?:, ?[\w.:/-]+)*$/.test(text) ? `: write [${text}]` : '';
}

/** What to do about a key with nothing behind it, as it is left when all that stood there is commented out. */
function whenEmpty(schema: JsonSchema, path: Path): string {
  if (path.length === 0) return '';
  const remedies = [
    ...(mayBeMissing(schema, path) ? ['remove the key'] : []),
    mayBeEmptyMapping(schema, path) ? 'write {}' : 'give it a value',
  ];
  return `: ${remedies.join(', or ')}`;
}

const TYPES: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping of keys to values',
  record: 'a mapping of names to values',
};

function formsOf(errors: Issue[][]): string {
  const forms = errors.flat().filter(isWrongType);
  return list([...new Set(forms.flatMap(formOf))]);
}

function formOf(issue: Issue): string[] {
  if (issue.code === 'invalid_value') return issue.values.map(String);
  const { expected } = issue as Issue & { code: 'invalid_type' };
  if (expected === 'boolean') return ['true', 'false'];
  return [TYPES[String(expected)] ?? String(expected)];
}

function list(words: readonly string[]): string {
  return words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

function nameOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'empty';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a mapping';
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}…"` : text;
}

/** What stands at a path of the raw values; undefined where nothing does. */
function valueAt(raw: unknown, path: Path): unknown {
  let value = raw;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step))
      return undefined;
    value = (value as Record<PropertyKey, unknown>)[step];
  }
  return value;
}
