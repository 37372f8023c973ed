/** What the probes share: they are programs of their own (so that they can be pinned), get one JSON argument and print one JSON line. */

export function argument<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T;
}

export function result(value: unknown): void {
  process.stdout.write(`RESULT ${JSON.stringify(value)}\n`);
}
