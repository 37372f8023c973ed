// Builds what guests boot from, into `.cache/guest/`: Debian's cloud kernel with its virtio
// modules, and a small root file system (Alpine's; where it can't be had, Debian's
// busybox-static, and says so) as an initramfs. Silent when everything is there.
//
//     node --import tsx qemu/guest/build.ts [--tests]     --tests: a second, newer QEMU, too

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { complain, root, step } from '../../scripts/steps.mjs';
import { type ImageMade, imageMade, paths } from '../paths.ts';
import { alpineRoot, busyboxRoot } from './root.ts';
import { cpio, withFolders } from './cpio.ts';
import { kernel } from './kernel.ts';
import { newerQemu } from './newer-qemu.ts';
import { ownFiles } from './own-files.ts';
import { kexec, toolbox, tools } from './tools.ts';

async function build(): Promise<void> {
  mkdirSync(paths.guest, { recursive: true });
  const key = keyOfSources();
  const made = imageMade();
  const whole = [paths.kernel, paths.initrd, paths.busybox].every((file) => existsSync(file));
  // A guest without Alpine is built anew each time: perhaps Alpine can be had by now.
  if (made?.key === key && made.root === 'Alpine' && whole) return;

  const modules = await kernel();
  await toolbox();
  const extra = [...(await tools()), ...(await kexec())];
  const alpine = await alpineRoot();
  const base = alpine ?? (await busyboxRoot());
  await step('guest image', async () => {
    const entries = withFolders([...base, ...modules, ...extra, ...ownFiles()]);
    // Guests may be booting from the one before.
    writeFileSync(`${paths.initrd}.new`, cpio(entries));
    renameSync(`${paths.initrd}.new`, paths.initrd);
    const made: ImageMade = { key, root: alpine ? 'Alpine' : 'busybox' };
    writeFileSync(paths.image, JSON.stringify(made));
  });
}

/** @returns a hash over everything in this folder: a change of it makes another image */
function keyOfSources(): string {
  const hash = createHash('sha256');
  const folder = join(root, 'qemu/guest');
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    const file = join(folder, name);
    if (/\.\w+$|^basewire|^files\//.test(name)) hash.update(name).update(readFileSync(file));
  }
  return hash.digest('hex');
}

try {
  await build();
  if (process.argv.includes('--tests')) await newerQemu();
} catch (error) {
  complain(error);
}
