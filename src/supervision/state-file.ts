/**
 * The warm state on disk: one small JSON file, replaced as a whole (write beside, rename), so that there is never half of it. A
 * missing or empty file (a power failure) is no reason not to start. One that is not ours is neither used nor ever replaced: a
 * slip in the configuration must not cost anybody a file, or a socket.
 */
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';

const MAX_BYTES = 64 << 20;
/** Between two attempts to write what could not be written: nothing else may change for months. */
const RETRY_MS = 10_000;

/** Something else stands at the path. */
class Foreign extends Error {}

export class StateFile {
  readonly #path: string;
  readonly #warn: (message: string) => void;
  #complained = '';
  /** The file that was read or written last. */
  #own = '';
  /** What could not be written; null: nothing. */
  #unwritten: unknown = null;
  /** It could not since something else stands there. */
  #foreign = false;
  #retry: NodeJS.Timeout | null = null;

  constructor(path: string, warn: (message: string) => void) {
    this.#path = path;
    this.#warn = warn;
  }

  /** What was written last, as it stands there: no more is known of its shape than that it has a version. Null when there is nothing to be had. */
  read(): unknown {
    try {
      return this.#read();
    } catch (error) {
      this.#failed('read', error as Error);
      return null;
    }
  }

  /** Replaces it, if it is ours. A failure is said once and costs nothing else; it is tried again until it is written, or something newer. */
  write(state: unknown): void {
    this.#unwritten = null;
    try {
      const found = look(this.#path);
      if (found !== null && identity(found) !== this.#own) this.#read();
      this.#replace(`${JSON.stringify(state)}\n`);
      this.#complained = '';
    } catch (error) {
      this.#foreign = error instanceof Foreign;
      this.#failed('written', error as Error);
      this.#unwritten = state;
      this.#retryLater();
    }
  }

  /** The base ends: what could not be written has a last chance. */
  close(): void {
    if (this.#unwritten !== null) this.write(this.#unwritten);
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  #again(): void {
    this.#retry = null;
    if (this.#unwritten === null) return;
    // It may be large: while it is there, it is not read again.
    if (this.#foreign && this.#isThere()) this.#retryLater();
    else this.write(this.#unwritten);
  }

  #isThere(): boolean {
    try {
      return look(this.#path) !== null;
    } catch {
      return false; // who writes says why
    }
  }

  #retryLater(): void {
    this.#retry ??= setTimeout(() => this.#again(), RETRY_MS).unref();
  }

  #failed(action: 'read' | 'written', error: Error): void {
    const { message } = error;
    this.#say(error instanceof Foreign ? message : `the state file can't be ${action}: ${message}`);
  }

  #replace(text: string): void {
    const fresh = `${this.#path}.new`;
    const left = look(fresh);
    if (left !== null && !left.isFile() && !left.isSymbolicLink())
      throw new Error(`${fresh} is in the way, and no file: remove it`);
    rmSync(fresh, { force: true });
    try {
      writeFileSync(fresh, text, { mode: 0o600, flag: 'wx' });
      this.#own = identity(lstatSync(fresh, { bigint: true }));
      renameSync(fresh, this.#path);
    } catch (error) {
      // A full disk has room for half of it.
      rmSync(fresh, { force: true });
      throw error;
    }
  }

  /** Throws Foreign where it is not ours. */
  #read(): unknown {
    const found = look(this.#path);
    if (found === null) return null;
    let state: unknown = null;
    try {
      const text = textOf(this.#path, found);
      // A power failure may leave an empty file, or one of zeros.
      if (/[^\0]/.test(text)) state = parse(text);
    } catch (error) {
      throw new Foreign(
        `the state file ${this.#path} ${(error as Error).message}. It is neither used nor replaced: remove it, or name another one (state.file)`,
      );
    }
    this.#own = identity(found);
    return state;
  }

  #say(message: string): void {
    if (message !== this.#complained) this.#warn(message);
    this.#complained = message;
  }
}

/** What stands at a path, itself; null when nothing does. */
function look(path: string): BigIntStats | null {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null;
}

/** The inode's number alone goes to another file as soon as the first one is gone. */
function identity({ dev, ino, mode, birthtimeNs }: BigIntStats): string {
  return [dev, ino, mode, birthtimeNs].join();
}

/** Its text; throws with what is wrong, for people. */
function textOf(path: string, found: BigIntStats): string {
  if (found.isSymbolicLink()) throw new Error('is a symbolic link');
  if (!found.isFile()) throw new Error('is no regular file');
  if (found.size > MAX_BYTES) throw new Error(`is larger than ${MAX_BYTES >> 20} MiB`);
  let fd = -1;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (identity(fstatSync(fd, { bigint: true })) !== identity(found))
      throw new Error('it was just replaced');
    const bytes = Buffer.alloc(Number(found.size));
    return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0));
  } catch (error) {
    throw new Error(`can’t be read (${(error as Error).message})`);
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

/** A state that some basewire wrote; throws with what is wrong, for people. */
function parse(text: string): unknown {
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch {
    throw new Error('is not basewire’s (no JSON)');
  }
  if (typeof (state as { version?: unknown } | null)?.version !== 'number')
    throw new Error('is not basewire’s (no version in it)');
  return state;
}
