// Builds what guests boot from, into `.cache/guest/`: Debian's cloud kernel with its virtio
// modules, and a small root file system (Alpine's; where it can't be had, Debian's
// busybox-static, and says so) as an initramfs. Silent when everything is there.
//
//     node --import tsx qemu/guest/build.ts [--tests]     --tests: a second, newer QEMU, too

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { complain, root, step } from '../../scripts/steps.mjs';
import { paths } from '../paths.ts';
import { alpineRoot, busyboxRoot } from './root.ts';
import { cpio, withFolders } from './cpio.ts';
import { kernel } from './kernel.ts';
import { newerQemu } from './newer-qemu.ts';
import { ownFiles } from './own-files.ts';
import { toolbox, tools } from './tools.ts';

/** What an image was made of, in `image.json`. */
interface Made {
  key: string;
  root: 'alpine' | 'busybox';
}

async function build(): Promise<void> {
  mkdirSync(paths.guest, { recursive: true });
  const key = keyOfSources();
  const made = readMade();
  const whole = [paths.kernel, paths.initrd, paths.busybox].every((file) => existsSync(file));
  // A guest without Alpine is built anew each time: perhaps Alpine can be had by now.
  if (made?.key === key && made.root === 'alpine' && whole) return;

  const modules = await kernel();
  await toolbox();
  const extra = await tools();
  const alpine = await alpineRoot();
  const base = alpine ?? (await busyboxRoot());
  await step('guest image', async () => {
    const entries = withFolders([...base, ...modules, ...extra, ...ownFiles()]);
    writeFileSync(paths.initrd, cpio(entries));
    const made: Made = { key, root: alpine ? 'alpine' : 'busybox' };
    writeFileSync(join(paths.guest, 'image.json'), JSON.stringify(made));
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

function readMade(): Made | undefined {
  try {
    return JSON.parse(readFileSync(join(paths.guest, 'image.json'), 'utf8')) as Made;
  } catch {
    return undefined;
  }
}

try {
  await build();
  if (process.argv.includes('--tests')) await newerQemu();
} catch (error) {
  complain(error);
}
