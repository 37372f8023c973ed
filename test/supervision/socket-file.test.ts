/** A stale socket file is replaced; everything else that stands at its path stays. */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { native } from '../../src/native.ts';
import {
  giveAway,
  makeSocketFolder,
  makeSocketFolders,
  prepareSocketPath,
  rememberSocketFile,
  removeSocketFile,
} from '../../src/socket-file.ts';
import { testFolder } from './folder.ts';

it('nothing there', () => {
  prepareSocketPath(join(testFolder(), 'a.sock'));
});

it('a stale socket goes', () => {
  const path = join(testFolder(), 'a.sock');
  native.closeDescriptor(native.unixListen(path, 0o600, 1));
  expect(lstatSync(path).isSocket()).toBe(true);
  prepareSocketPath(path);
  expect(existsSync(path)).toBe(false);
});

it('a socket on which somebody accepts stays', async () => {
  const path = join(testFolder(), 'a.sock');
  const server = createServer().listen(path);
  onTestFinished(() => {
    server.close();
  });
  await new Promise((resolve) => server.once('listening', resolve));
  expect(() => prepareSocketPath(path)).toThrow(/another process accepts connections on it/);
  expect(lstatSync(path).isSocket()).toBe(true);
});

it('a socket whose backlog is full stays', () => {
  const path = join(testFolder(), 'a.sock');
  const fds = [native.unixListen(path, 0o600, 0)];
  onTestFinished(() => fds.forEach((fd) => void native.closeDescriptor(fd)));
  for (let full = false; !full && fds.length < 100; ) {
    try {
      fds.push(native.unixConnect(path));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('EAGAIN');
      full = true;
    }
  }
  expect(() => prepareSocketPath(path)).toThrow(/listens on it/);
});

it('a file, a folder and a link stay', () => {
  const folder = testFolder();
  const stale = join(folder, 'stale.sock');
  native.closeDescriptor(native.unixListen(stale, 0o600, 1));
  writeFileSync(join(folder, 'file'), 'precious');
  mkdirSync(join(folder, 'folder'));
  symlinkSync(stale, join(folder, 'link'));
  symlinkSync('/nowhere', join(folder, 'dangling'));
  expect(() => prepareSocketPath(join(folder, 'file'))).toThrow(/is not a socket/);
  expect(() => prepareSocketPath(join(folder, 'folder'))).toThrow(/is not a socket/);
  expect(() => prepareSocketPath(join(folder, 'link'))).toThrow(/symbolic link/);
  expect(() => prepareSocketPath(join(folder, 'dangling'))).toThrow(/symbolic link/);
  expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('precious');
  expect(lstatSync(stale).isSocket()).toBe(true);
});

it('only the file that we made is removed', () => {
  const path = join(testFolder(), 'a.sock');
  const fd = native.unixListen(path, 0o600, 1);
  const file = rememberSocketFile(path);
  unlinkSync(path);
  const other = native.unixListen(path, 0o600, 1);
  removeSocketFile(file);
  expect(existsSync(path)).toBe(true);
  // An inode's number goes to another file as soon as the first one is gone.
  const found = rememberSocketFile(path);
  removeSocketFile({ ...found, born: found.born - 1n });
  expect(existsSync(path)).toBe(true);
  removeSocketFile(found);
  expect(existsSync(path)).toBe(false);
  removeSocketFile(file); // gone already: no complaint
  native.closeDescriptor(fd);
  native.closeDescriptor(other);
});

it('makes the folder when only that is missing', () => {
  const folder = testFolder();
  expect(makeSocketFolder(join(folder, 'run', 'a.sock'))).toBe(true);
  expect(lstatSync(join(folder, 'run')).mode & 0o777).toBe(0o750);
  expect(makeSocketFolder(join(folder, 'run', 'b.sock'))).toBe(false);
  expect(() => makeSocketFolder(join(folder, 'no', 'such', 'a.sock'))).toThrow(
    /can’t make the folder/,
  );
  chmodSync(join(folder, 'run'), 0o700);
});

it.skipIf(process.getuid!() !== 0)(
  'who may not give one away hears what to do (needs root, to be somebody else)',
  () => {
    const [own, other] = [65534, 65533];
    const path = join(testFolder(), 'a.sock');
    native.closeDescriptor(native.unixListen(path, 0o600, 1));
    giveAway(path, own, own);
    chmodSync(join(path, '..'), 0o755);
    process.seteuid!(own);
    try {
      giveAway(path, own, -1);
      expect(() => giveAway(path, other, -1)).toThrow(
        `${path}: user ${own} may not give it to user ${other}: leave owner out and use group, or start as root`,
      );
      for (const uid of [-1, own])
        expect(() => giveAway(path, uid, other)).toThrow(
          `${path}: user ${own} may not give it to group ${other}: make the user a member of the group, or leave group out`,
        );
    } finally {
      process.seteuid!(0);
    }
    expect(lstatSync(path)).toMatchObject({ uid: own, gid: own });
  },
);

it.skipIf(process.getuid!() !== 0)(
  'a folder has the group of its sockets; of several groups all get through (needs root)',
  () => {
    const root = testFolder();
    const [kvm, other] = [65534, 65533];
    const socket = (path: string, gid: number) => ({ path: join(root, path), gid });
    makeSocketFolders(
      [
        ...[socket('one/a.sock', kvm), socket('one/b.sock', kvm)],
        ...[socket('two/a.sock', -1), socket('two/b.sock', kvm)],
        ...[socket('three/a.sock', kvm), socket('three/b.sock', other)],
        socket('four/a.sock', -1),
      ],
      -1,
      -1,
    );
    const made = (name: string) => {
      const { mode, gid } = lstatSync(join(root, name));
      return [(mode & 0o777).toString(8), gid];
    };
    expect(made('one')).toEqual(['750', kvm]);
    expect(made('two')[0]).toBe('751');
    expect(made('three')[0]).toBe('751');
    expect(made('four')[0]).toBe('750');
  },
);
