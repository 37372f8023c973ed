// Where the guest builder puts things and the launcher finds them, all under `.cache/`.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cache } from '../scripts/steps.mjs';

const guest = join(cache, 'guest');

/** Paths of what is built or unpacked, absolute. */
export const paths = {
  guest,
  /** The guests' kernel (bzImage). */
  kernel: join(guest, 'kernel/vmlinuz'),
  /** The guests' root file system. */
  initrd: join(guest, 'root.cpio'),
  /** What the image was made of (see `imageMade`). */
  image: join(guest, 'image.json'),
  /** A static busybox of the host's, for the far side of the test LAN. */
  busybox: join(guest, 'busybox'),
  /** A second, newer QEMU, unpacked, not installed. */
  newerQemu: join(cache, 'qemu-newer'),
} as const;

/** What a guest image was made of. */
export interface ImageMade {
  /** Hash over the builder's sources. */
  key: string;
  /** Whose root file system the guests have. */
  root: 'Alpine' | 'busybox';
}

/** @returns what the guest image was made of; undefined where there is none */
export function imageMade(): ImageMade | undefined {
  try {
    return JSON.parse(readFileSync(paths.image, 'utf8')) as ImageMade;
  } catch {
    return undefined;
  }
}
