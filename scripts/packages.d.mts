// Types of packages.mjs, for TypeScript that uses it.

export function which(program: string): string | undefined;
export const isRoot: boolean;
export function systemPackages(groups: ('build' | 'guests' | 'tests')[]): Promise<void>;
export function nodeHeaders(): string | undefined;
