/**
 * Files of Unix sockets that we listen on: who may stand in the way, and who may not.
 *
 * A daemon that was killed leaves its socket files behind, and bind(2) refuses a path that exists. Such a file is removed
 * only when it is a socket on which nobody accepts; a symbolic link is never followed, and nothing else is ever removed.
 * Everything here is synchronous and never blocks, so the turn worker may use it between turns.
 */
import {
  accessSync,
  type BigIntStats,
  chmodSync,
  constants,
  lchownSync,
  lstatSync,
  mkdirSync,
  unlinkSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { native } from './native.ts';
import { obstacle } from './socket-path.ts';

/** Which file we made, so that we never remove somebody else's. */
export interface SocketFile {
  path: string;
  dev: bigint;
  ino: bigint;
  /** When it was made, where the file system knows: an inode's number goes to another file as soon as the first one is gone. */
  born: bigint;
}

/** What stands at a path, itself (never what a link points to); null when nothing does. */
function look(path: string): BigIntStats | null {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null;
}

function same(file: SocketFile, found: BigIntStats): boolean {
  return found.ino === file.ino && found.dev === file.dev && found.birthtimeNs === file.born;
}

/**
 * Makes room for a listening socket at `path`: removes a stale socket file. Throws an Error that says what is in the way:
 * something that is no socket, a socket on which somebody accepts, or a folder in which we may make none.
 */
export function prepareSocketPath(path: string): void {
  askForFolder(dirname(path));
  const found = look(path);
  if (found === null) return;
  const inTheWay = obstacle(found);
  if (inTheWay) throw new Error(`${path} ${inTheWay}`);
  const trouble = probe(path);
  if (trouble) throw new Error(`${path}: ${trouble}`);
  const again = look(path);
  if (again === null) return;
  if (again.ino !== found.ino || again.dev !== found.dev) {
    throw new Error(`${path} was just made anew by another process`);
  }
  unlinkSync(path);
}

/** What bind(2) would refuse, in words that say who may not do what. */
function askForFolder(folder: string): void {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') return;
    const who = `user ${process.geteuid!()} (group ${process.getegid!()})`;
    throw new Error(
      `${folder}: ${who} may make no socket there: let it write to the folder, or choose another path`,
    );
  }
}

/** Why the socket at a path must stay; '' when nobody accepts on it. */
function probe(path: string): string {
  try {
    native.closeDescriptor(native.unixConnect(path));
    return 'another process accepts connections on it: is basewire running already?';
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return '';
    if (code === 'EAGAIN') return 'another process listens on it (and is busy)';
    if (code === 'EPROTOTYPE') return 'it is a socket of another kind, in use by another process';
    return `can’t tell whether another process uses it: ${(error as Error).message}`;
  }
}

/** Remembers the socket file that was just made. Throws when it is not there, or is no socket. */
export function rememberSocketFile(path: string): SocketFile {
  const found = look(path);
  if (!found?.isSocket()) throw new Error(`${path} is not the socket that was just made`);
  return { path, dev: found.dev, ino: found.ino, born: found.birthtimeNs };
}

/**
 * Gives a socket's file, or the folder that was made for it, to a user and a group; -1: leaves it with whom it has. Throws an Error that says what
 * to do where we may not.
 */
export function giveAway(path: string, uid: number, gid: number): void {
  try {
    lchownSync(path, uid, gid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
    const own = process.geteuid!();
    throw new Error(
      uid >= 0 && uid !== own
        ? `${path}: user ${own} may not give it to user ${uid}: leave owner out and use group, or start as root`
        : `${path}: user ${own} may not give it to group ${gid}: make the user a member of the group, or leave group out`,
    );
  }
}

/** Whether it is still the one that stands at its path, as far as we may look: whoever connects there comes to us. Never throws. */
export function isSocketFileThere(file: SocketFile): boolean {
  try {
    const found = look(file.path);
    return found !== null && same(file, found);
  } catch {
    return true;
  }
}

/** Removes a socket file if it is still the one that we made. Never throws. */
export function removeSocketFile(file: SocketFile): void {
  try {
    const found = look(file.path);
    if (found?.isSocket() && same(file, found)) unlinkSync(file.path);
  } catch {
    // The folder is gone or not ours any more: then so is the file.
  }
}

/**
 * Makes the folders of sockets that are missing, each of the group that its sockets have: QEMU must get through it. Where they have several,
 * anybody does, as far as to a socket that is open to them. Otherwise they are user `uid`'s and group `gid`'s (-1: as they were made).
 */
export function makeSocketFolders(
  sockets: readonly { path: string; gid: number }[],
  uid: number,
  gid: number,
): void {
  const groupOf = (socket: { gid: number }) => (socket.gid >= 0 ? socket.gid : gid);
  for (const socket of sockets) {
    if (!makeSocketFolder(socket.path)) continue;
    const folder = dirname(socket.path);
    const group = groupOf(socket);
    const others = sockets.filter(({ path }) => dirname(path) === folder);
    if (others.some((other) => groupOf(other) !== group))
      chmodSync(folder, lstatSync(folder).mode | 0o001);
    if (uid >= 0 || group >= 0) giveAway(folder, uid, group);
  }
}

/** Makes the folder of a socket where only that last part is missing (mode 0750); true when it was made. */
export function makeSocketFolder(path: string): boolean {
  try {
    const folder = dirname(path);
    mkdirSync(folder, { mode: 0o750 });
    // Whatever the umask is: the socket's group must get through. A group that is handed down (setgid) stays so.
    chmodSync(folder, (lstatSync(folder).mode & 0o2000) | 0o750);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw new Error(`can’t make the folder ${dirname(path)}: ${(error as Error).message}`);
  }
}
