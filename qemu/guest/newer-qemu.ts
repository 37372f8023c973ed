// A second QEMU for the tests: the one of Debian's backports, unpacked into `.cache/` and run from
// there; the system's own stays as it is. Where it can't be had the tests on it skip by name.

import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { cache, step } from '../../scripts/steps.mjs';
import { paths } from '../paths.ts';
import { debianCodename, suiteLists, unpackPackages } from './debian.ts';

const PACKAGES = ['qemu-system-x86', 'qemu-system-common', 'qemu-system-data', 'seabios'];

/** Makes `paths.newerQemu`, if this is a Debian whose backports have one. */
export async function newerQemu(): Promise<void> {
  const codename = debianCodename();
  if (!codename || existsSync(paths.newerQemu)) return;
  try {
    await step(`a second QEMU (${codename}-backports)`, async () => {
      const options = await suiteLists(join(cache, 'apt-backports'), `${codename}-backports`);
      const fresh = `${paths.newerQemu}.new`;
      await unpackPackages(fresh, PACKAGES, options);
      renameSync(fresh, paths.newerQemu);
    });
  } catch (error) {
    process.stdout.write(`! Tests go without a second QEMU: ${(error as Error).message}\n`);
  }
}
