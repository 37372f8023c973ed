/** A FIFO whose opening for reading blocks in the kernel, as a thread that nobody can end, until `release`. */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, rmSync } from 'node:fs';

export class Fifo {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    rmSync(path, { force: true });
    const { status, stderr } = spawnSync('mkfifo', [path], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`mkfifo: ${stderr}`);
  }

  /** Whoever waits goes on; nobody has to wait. */
  release(): void {
    closeSync(openSync(this.path, constants.O_RDWR | constants.O_NONBLOCK));
  }

  remove(): void {
    this.release();
    rmSync(this.path, { force: true });
  }
}
