// Writes an initramfs archive (cpio, "newc" format, as the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst describes) from entries in memory,
// all owned by root. The kernel accepts several archives one after the other.

/** One file of the guest's root; `path` without a leading slash. */
export type Entry =
  | { path: string; type: 'file'; mode: number; data: Uint8Array }
  | { path: string; type: 'directory'; mode: number }
  | { path: string; type: 'symlink'; target: string };

const TYPE_BITS = { file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const;

/** @returns the archive of `entries`, in their order (folders must come before what is in them) */
export function cpio(entries: readonly Entry[]): Buffer {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, index) => {
    const data = entry.type === 'file' ? entry.data : bodyOf(entry);
    const mode = TYPE_BITS[entry.type] | (entry.type === 'symlink' ? 0o777 : entry.mode);
    record(parts, index + 1, entry.path, mode, data);
  });
  record(parts, 0, 'TRAILER!!!', 0, new Uint8Array(0));
  const archive = Buffer.concat(parts);
  // Padded to 512 bytes, so that another archive may follow.
  return Buffer.concat([archive, Buffer.alloc(-archive.length & 511)]);
}

function bodyOf(entry: Exclude<Entry, { type: 'file' }>): Uint8Array {
  return entry.type === 'symlink' ? Buffer.from(entry.target) : new Uint8Array(0);
}

function record(
  parts: Uint8Array[],
  inode: number,
  path: string,
  mode: number,
  data: Uint8Array,
): void {
  const name = Buffer.from(`${path}\0`);
  const links = (mode & 0o170000) === TYPE_BITS.directory ? 2 : 1;
  // Order: inode, mode, uid, gid, links, mtime, size, device x2, special device x2, name, check.
  const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, 0, 0, name.length, 0];
  const header = fields.map((value) => value.toString(16).padStart(8, '0')).join('');
  parts.push(Buffer.from(`070701${header}`), name, Buffer.alloc(-(110 + name.length) & 3));
  parts.push(data, Buffer.alloc(-data.length & 3));
}

/** @returns `entries` plus a directory entry for every folder that is used but not among them */
export function withFolders(entries: readonly Entry[]): Entry[] {
  const known = new Set(entries.filter((e) => e.type !== 'file').map((e) => e.path));
  const result: Entry[] = [];
  for (const entry of entries) {
    const steps = entry.path.split('/');
    for (let i = 1; i < steps.length; i++) {
      const folder = steps.slice(0, i).join('/');
      if (known.has(folder)) continue;
      known.add(folder);
      result.push({ path: folder, type: 'directory', mode: 0o755 });
    }
    result.push(entry);
  }
  return result;
}
