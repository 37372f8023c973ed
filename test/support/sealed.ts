/** A file that was mapped for somebody is sealed against shrinking: another thread does that, usually before `mapRegion` returns. */
import { native } from '../../src/native.ts';
import { until } from './until.ts';

const EPERM = -1;

/** Tries to shrink the file to `bytes`, and makes it longer again, until that is refused. */
export async function untilSealed(fd: number, bytes: number): Promise<void> {
  await until('the seal', () => {
    if (native.truncate(fd, bytes) === EPERM) return true;
    native.truncate(fd, 2 * bytes);
    return false;
  });
}
