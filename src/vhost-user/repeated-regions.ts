/**
 * What ADD_MEM_REG and REM_MEM_REG of one session said before, to know a request that only repeats another. QEMU 7.2 sends both
 * once for each queue pair. A repetition changes nothing and succeeds: refused, QEMU gives the guest's rings to its own
 * virtio-net and the guest has no network.
 */
import { fstatSync } from 'node:fs';

/** Removed regions that are remembered. */
const MAX_REMOVED = 512;

/** A region as requests name it. */
export interface Named {
  guest: number;
  bytes: number;
  user: number;
}

export class RepeatedRegions {
  /** Name of a region that is there: the file that it is in. */
  private readonly there = new Map<string, string>();
  private readonly removed = new Set<string>();

  /** The same region of the same file is there already. */
  isThere(region: Named, offset: number, fd: number): boolean {
    const file = this.there.get(nameOf(region));
    return file !== undefined && file === fileOf(offset, fd);
  }

  /** The region was there and is removed already. */
  wasRemoved(region: Named): boolean {
    return this.removed.has(nameOf(region));
  }

  /** A region was added from this file. */
  add(region: Named, offset: number, fd: number): void {
    const name = nameOf(region);
    this.there.set(name, fileOf(offset, fd));
    this.removed.delete(name);
  }

  /** A region was removed. */
  remove(region: Named): void {
    const name = nameOf(region);
    this.there.delete(name);
    this.removed.add(name);
    if (this.removed.size <= MAX_REMOVED) return;
    for (const oldest of this.removed) {
      this.removed.delete(oldest);
      return;
    }
  }

  /** A whole table replaced all regions. */
  clear(): void {
    this.there.clear();
    this.removed.clear();
  }
}

function nameOf({ guest, bytes, user }: Named): string {
  return `${guest} ${bytes} ${user}`;
}

function fileOf(offset: number, fd: number): string {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return `${dev} ${ino} ${offset}`;
}
