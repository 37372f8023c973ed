// What must not outlive us, whatever ends us: processes that we started, network namespaces and
// folders that we made. Last made, first removed; also on SIGINT, SIGTERM and uncaught errors.

const undo = new Map<symbol, () => void>();
let armed = false;

/**
 * Remembers `action` (synchronous, must not throw) for our end.
 * @returns a function that does it now, once
 */
export function atEnd(action: () => void): () => void {
  arm();
  const key = Symbol();
  undo.set(key, action);
  return () => {
    if (undo.delete(key)) action();
  };
}

/** Does everything that is remembered. */
export function cleanUp(): void {
  for (const [key, action] of [...undo].reverse()) {
    undo.delete(key);
    try {
      action();
    } catch (error) {
      process.stderr.write(`while cleaning up: ${String(error)}\n`);
    }
  }
}

function arm(): void {
  if (armed) return;
  armed = true;
  process.on('exit', cleanUp);
  const numbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
  for (const [signal, number] of Object.entries(numbers)) {
    process.on(signal, () => process.exit(128 + number));
  }
}
