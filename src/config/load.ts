/** From a configuration file to checked values, or to all complaints at once. Creates nothing. */
import { ConfigError, issueComplaints } from './complaints.ts';
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
  if (
    complaints.some(
      (complaint) => complaint.path.length === 0 && !/given twice/.test(complaint.text),
    )
  ) {
    throw new ConfigError(source.file, complaints);
  }
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
  if (complaints.length > 0 || !result.success) throw new ConfigError(source.file, complaints);
  return { file: source.file, config: result.data, warnings: source.warnings };
}
