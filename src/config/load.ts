/** From a configuration file to checked values, or to all complaints at once. Creates nothing. */
import { ConfigError } from './config-error.ts';
import { issueComplaints } from './complaints.ts';
import { crossCheck } from './cross-checks.ts';
import { configJsonSchema } from './json-schema.ts';
import { type Config, configSchema } from './schema.ts';
import { type Complaint, type ConfigSource, readConfig } from './source.ts';

export interface LoadedConfig {
  file: string;
  config: Config;
  /** Worth saying, but no reason not to start. */
  warnings: string[];
}

/** Reads and checks a file; throws a ConfigError that holds every complaint. */
export function loadConfig(file: string): LoadedConfig {
  return checkConfig(readConfig(file));
}

/** Checks what was read; throws a ConfigError that holds every complaint. */
export function checkConfig(source: ConfigSource): LoadedConfig {
  const complaints: Complaint[] = [...source.complaints];
  // With broken syntax the values are guesses: complaints about them would only confuse.
  if (!source.usable) throw new ConfigError(source.file, complaints);
  if (source.raw === null || source.raw === undefined) {
    complaints.push({
      line: 1,
      column: 1,
      path: [],
      text: 'is empty: networks and vms are needed',
    });
    throw new ConfigError(source.file, complaints);
  }
  const result = configSchema.safeParse(source.raw);
  const schema = configJsonSchema();
  for (const issue of result.error?.issues ?? []) {
    complaints.push(...issueComplaints(issue, source, schema));
  }
  crossCheck(source.raw, (path, text, which = 'value') => {
    complaints.push({ ...source.position(path, which), path, text });
  });
  // A key that is wrong has not to be the right one, too; and what one was to bring is not missing besides.
  const wrongKeys = new Set(source.complaints.map(placeOf));
  const others = complaints.slice(source.complaints.length);
  const all = [
    ...source.complaints,
    ...others.filter(
      (complaint) => !wrongKeys.has(placeOf(complaint)) && !source.mayBeMerged(complaint.path),
    ),
  ];
  if (complaints.length > 0 || !result.success) throw new ConfigError(source.file, all);
  return { file: source.file, config: result.data, warnings: source.warnings };
}

function placeOf({ line, column }: Complaint): string {
  return `${line}:${column}`;
}
