// Where the guest builder puts things and the launcher finds them, all under `.cache/`.

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
  /** A static busybox of the host's, for the far side of the test LAN. */
  busybox: join(guest, 'busybox'),
  /** A second, newer QEMU, unpacked, not installed. */
  newerQemu: join(cache, 'qemu-newer'),
} as const;
