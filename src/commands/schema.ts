/** `basewire schema`: the JSON Schema of the configuration. */
import { configJsonSchema } from '../config/json-schema.ts';
import { EXIT } from '../exit-codes.ts';

/** Prints it; the exit code. */
export function schema(): number {
  process.stdout.write(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
  return EXIT.ok;
}
