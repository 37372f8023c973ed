// Types of steps.mjs, for TypeScript that uses it.

export const root: string;
export const cache: string;
export class SetupError extends Error {
  constructor(message: string, remedy?: string[]);
  remedy: string[];
}
export function step<T>(
  title: string,
  work: (note: (text: string) => void) => Promise<T>,
): Promise<T>;
export function run(
  name: string,
  program: string,
  args: string[],
  options?: { env?: NodeJS.ProcessEnv; cwd?: string },
): Promise<void>;
export function complain(error: unknown): void;
