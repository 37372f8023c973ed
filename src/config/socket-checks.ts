/** Paths of a configuration: each used once; those of sockets short enough, in a folder that exists or can be made, and where nothing else stands. */
import { lstatSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { obstacle } from '../socket-path.ts';
import { DEFAULT_ADMIN_SOCKET, isFilePath, MAX_SOCKET_PATH_BYTES } from './schema.ts';
import type { Path } from './source.ts';
import { groupId, MAX_ID, primaryGroupId, userId } from './users.ts';
import { type Complain, list, mapping } from './values.ts';

export class SocketChecks {
  readonly #raw: Record<string, unknown>;
  readonly #vms: [name: string, value: Record<string, unknown>][];
  readonly #complain: Complain;
  /** Who uses a path. */
  readonly #used = new Map<string, string>();

  constructor(
    raw: Record<string, unknown>,
    vms: [name: string, value: Record<string, unknown>][],
    complain: Complain,
  ) {
    this.#raw = raw;
    this.#vms = vms;
    this.#complain = complain;
  }

  run(): void {
    this.#account();
    const admin = mapping(this.#raw.admin)?.socket;
    if (typeof admin === 'string') this.#path(admin, ['admin', 'socket'], 'the admin socket', true);
    else
      this.#used.set(
        placeOf(DEFAULT_ADMIN_SOCKET),
        'the admin socket (where admin.socket names no other)',
      );
    this.#stateFile();
    for (const [name, value] of this.#vms) {
      const at: Path = ['vms', name];
      if (value.socket !== undefined && value.sockets !== undefined) {
        this.#complain([...at, 'sockets'], 'stands beside socket: use one of the two', 'key');
      } else if (value.socket === undefined && value.sockets === undefined) {
        this.#complain(
          [...at, 'socket'],
          'is missing: it must be the path of the VM’s vhost-user socket',
          'key',
        );
      }
      this.#socket(value.socket, [...at, 'socket'], name);
      list(value.sockets).forEach((socket, index) => {
        this.#socket(socket, [...at, 'sockets', index], name);
      });
    }
  }

  /** It is written beside its place and then put there: both must be nobody else's. */
  #stateFile(): void {
    const file = mapping(this.#raw.state)?.file;
    if (typeof file !== 'string' || !isFilePath(file)) return; // the schema said so
    this.#claim(file, ['state', 'file'], 'the state file');
    this.#claim(`${file}.new`, ['state', 'file'], 'where the state file is written (state.file)');
  }

  /** Whom the daemon becomes. */
  #account(): void {
    const { user, group } = this.#raw;
    if (group !== undefined && user === undefined)
      this.#complain(['group'], 'has no effect without user: add user, or leave it out', 'key');
    if (isId(user)) {
      if (userId(user) === null)
        this.#complain(['user'], `there is no user "${user}" on this host`);
      else if (userId(user) === 0) this.#complain(['user'], 'is root: leave it out to stay root');
      else if (group === undefined && primaryGroupId(user) === null)
        this.#complain(['user'], `user ${user} has no group of its own: add group`);
    }
    if (isId(group) && groupId(group) === null)
      this.#complain(['group'], `there is no group "${group}" on this host`);
  }

  #socket(value: unknown, at: Path, vm: string): void {
    if (typeof value === 'string') this.#path(value, at, `a socket of VM ${vm}`, true);
    const socket = mapping(value);
    if (!socket) return;
    const server = socket.mode !== 'client';
    if (typeof socket.path === 'string') {
      this.#path(socket.path, [...at, 'path'], `a socket of VM ${vm}`, server);
    }
    for (const key of ['permissions', 'owner', 'group']) {
      if (!server && socket[key] !== undefined) {
        this.#complain(
          [...at, key],
          'has no effect with mode: client (QEMU makes the file): leave it out',
          'key',
        );
      }
    }
    if (isId(socket.owner)) {
      const owner = userId(socket.owner);
      if (owner === null)
        this.#complain([...at, 'owner'], `there is no user "${socket.owner}" on this host`);
      else if (isId(this.#raw.user) && owner !== userId(this.#raw.user)) {
        this.#complain(
          [...at, 'owner'],
          `can’t be given by user ${this.#raw.user}: use group, or leave user out`,
        );
      }
    }
    if (isId(socket.group) && groupId(socket.group) === null) {
      this.#complain([...at, 'group'], `there is no group "${socket.group}" on this host`);
    }
  }

  #path(path: string, at: Path, owner: string, made: boolean): void {
    if (!isFilePath(path)) return; // the schema said so
    const bytes = Buffer.byteLength(path);
    if (bytes > MAX_SOCKET_PATH_BYTES) {
      this.#complain(
        at,
        `is ${bytes} bytes long, a socket’s path holds ${MAX_SOCKET_PATH_BYTES}: choose a shorter one`,
      );
    }
    this.#claim(path, at, owner);
    if (made && bytes <= MAX_SOCKET_PATH_BYTES) {
      const reason = folderTrouble(dirname(normalize(path))) || placeTrouble(path);
      if (reason) this.#complain(at, reason);
    }
  }

  #claim(path: string, at: Path, owner: string): void {
    const plain = placeOf(path);
    const other = this.#used.get(plain);
    if (other) this.#complain(at, `${path} is already ${other}: choose another`);
    else this.#used.set(plain, owner);
  }
}

/** A name or a number; of what is neither the schema has said so. */
function isId(id: unknown): id is string | number {
  if (typeof id === 'number') return Number.isInteger(id) && id >= 0 && id <= MAX_ID;
  return typeof id === 'string' && id !== '';
}

/** A path as it is told from others: two lead to one file where a folder has two names. What stands at its end is looked at elsewhere. */
function placeOf(path: string): string {
  const plain = normalize(path);
  const [folder, missing] = [dirname(plain), dirname(dirname(plain))];
  for (const there of [folder, missing]) {
    try {
      return join(realpathSync(there), relative(there, plain));
    } catch {
      // It is not there, or we may not look: its name is all there is.
    }
  }
  return plain;
}

/** Why a socket can't be made in this folder; '' when it exists, or only its last part is missing, or we may not know. */
function folderTrouble(folder: string): string {
  const kind = kindOf(folder);
  if (kind === 'folder' || kind === 'hidden') return '';
  if (kind === 'other') return `${folder} is no folder`;
  const parent = dirname(folder);
  if (kindOf(parent) === 'folder') return '';
  return `neither the folder ${folder} nor ${parent} exists: make it, or choose another path`;
}

/** Why a socket can't be made at this path, of what can be seen without touching it; ''. */
function placeTrouble(path: string): string {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false });
    const reason = found === undefined ? '' : obstacle(found);
    return reason && `${path} ${reason}`;
  } catch {
    // We may not look into the folder: the daemon may.
    return '';
  }
}

function kindOf(path: string): 'folder' | 'other' | 'hidden' | 'missing' {
  try {
    return statSync(path).isDirectory() ? 'folder' : 'other';
  } catch (error) {
    // In a folder that we may not look into: the daemon may.
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'hidden' : 'missing';
  }
}
