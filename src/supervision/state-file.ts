/**
 * The warm state on disk: one small JSON file, replaced as a whole (write beside, rename), so that there is never half of it. A
 * missing, broken or foreign file is no reason not to start.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';

const MAX_BYTES = 8 << 20;

export class StateFile {
  readonly #path: string;
  readonly #warn: (message: string) => void;
  #complained = '';

  constructor(path: string, warn: (message: string) => void) {
    this.#path = path;
    this.#warn = warn;
  }

  /** What was written last, as it stands there: nothing about its shape is known. Null when there is nothing to be had. */
  read(): unknown {
    let fd = -1;
    try {
      fd = openSync(this.#path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      const { size } = fstatSync(fd);
      if (!fstatSync(fd).isFile() || size > MAX_BYTES)
        throw new Error('not a file of a sensible size');
      const bytes = Buffer.alloc(size);
      const length = readSync(fd, bytes, 0, size, 0);
      return JSON.parse(bytes.toString('utf8', 0, length));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.#warn(`the state file ${this.#path} is not used: ${(error as Error).message}`);
      }
      return null;
    } finally {
      if (fd >= 0) closeSync(fd);
    }
  }

  /** Replaces it. A failure is said once and costs nothing else. */
  write(state: unknown): void {
    const fresh = `${this.#path}.new`;
    try {
      rmSync(fresh, { force: true });
      writeFileSync(fresh, `${JSON.stringify(state)}\n`, { mode: 0o600, flag: 'wx' });
      renameSync(fresh, this.#path);
      this.#complained = '';
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#complained) this.#warn(`the state file can't be written: ${message}`);
      this.#complained = message;
    }
  }
}
