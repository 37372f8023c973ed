// Reads a tar archive (ustar with pax paths, as Alpine's root file system comes) into entries,
// without unpacking it to a folder: no root is needed and nothing is left behind.

import type { Entry } from './cpio.ts';

const BLOCK = 512;

/** @param archive an uncompressed tar @returns its files, folders and links (others are left out) */
export function untar(archive: Buffer): Entry[] {
  const entries: Entry[] = [];
  const files = new Map<string, Uint8Array>();
  let pax: Record<string, string> = {};
  for (let at = 0; at + BLOCK <= archive.length; ) {
    const header = archive.subarray(at, at + BLOCK);
    if (header[0] === 0) break;
    const size = Number.parseInt(text(header, 124, 12), 8);
    if (!(size >= 0)) throw new Error(`not a tar archive: no size at ${at}`);
    const data = archive.subarray(at + BLOCK, at + BLOCK + size);
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === 'x') {
      pax = paxRecords(data.toString('utf8'));
      continue;
    }
    if (type === 'g') continue;
    const prefix = text(header, 345, 155);
    const name = pax.path ?? (prefix ? `${prefix}/${text(header, 0, 100)}` : text(header, 0, 100));
    const target = pax.linkpath ?? text(header, 157, 100);
    pax = {};
    const path = name.replace(/^\.?\/+/, '').replace(/\/+$/, '');
    if (path === '' || path === '.') continue;
    const mode = Number.parseInt(text(header, 100, 8), 8) & 0o7777;
    if (type === '5') entries.push({ path, type: 'directory', mode });
    else if (type === '2') entries.push({ path, type: 'symlink', target });
    else if (type === '0' || type === '\0') {
      files.set(path, data);
      entries.push({ path, type: 'file', mode, data });
    } else if (type === '1') {
      const original = files.get(target.replace(/^\.?\/+/, ''));
      if (original) entries.push({ path, type: 'file', mode, data: original });
    }
  }
  return entries;
}

function text(block: Buffer, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? length : end).trim();
}

function paxRecords(body: string): Record<string, string> {
  const records: Record<string, string> = {};
  for (const line of body.split('\n')) {
    const match = /^\d+ ([^=]+)=(.*)$/.exec(line);
    if (match?.[1] !== undefined) records[match[1]] = match[2] ?? '';
  }
  return records;
}
