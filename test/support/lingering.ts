/**
 * Descriptors whose last close waits: TCP sockets that linger over what their peer does not read, and eventfds in an epoll instance that is
 * held. A Python process makes them, as Node can't ask for that, and keeps them waiting until `release`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { native } from '../../src/native.ts';
import { until } from './until.ts';

const SOCKETS = `
import socket, struct, sys
ours = socket.socket(fileno=3)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
listener.bind(('127.0.0.1', 0))
listener.listen(8)
peers = []
for _ in range(int(sys.argv[1])):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    one.connect(listener.getsockname())
    peers.append(listener.accept()[0])
    one.setblocking(False)
    try:
        while True: one.send(bytes(65536))
    except BlockingIOError:
        pass
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 120))
    socket.send_fds(ours, [b'x'], [one.fileno()])
    one.close()
ours.settimeout(60)
ours.recv(1)
`;

/** epoll_wait holds the instance while it tells of an event, here to a page that never comes. */
const EVENTFDS = `
import ctypes, fcntl, os, socket, struct, sys, threading
ours = socket.socket(fileno=3)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
faults = libc.syscall(323, os.O_CLOEXEC)
fcntl.ioctl(faults, 0xc018aa3f, bytearray(struct.pack('QQQ', 0xaa, 0, 0)))
page = libc.mmap(None, 4096, 3, 0x22, -1, 0)
fcntl.ioctl(faults, 0xc020aa00, bytearray(struct.pack('QQQQ', page, 4096, 1, 0)))
epoll = libc.epoll_create1(0)
events = [libc.eventfd(0, 0o4000) for _ in range(int(sys.argv[1]))]
for one in events + [libc.eventfd(1, 0)]:
    libc.epoll_ctl(epoll, 1, one, struct.pack('<IQ', 1, 0))
wait = lambda: libc.epoll_wait(epoll, ctypes.c_void_p(page), 8, -1)
threading.Thread(target=wait, daemon=True).start()
os.read(faults, 32)
for one in events:
    socket.send_fds(ours, [b'x'], [one])
    os.close(one)
ours.settimeout(60)
ours.recv(1)
os._exit(0)
`;

/** What can be made. Eventfds of this kind take a privilege, or FUSE. */
export type LingeringKind = 'sockets' | 'eventfds';
export const NO_LINGERING_EVENTFDS = process.getuid!() === 0 ? '' : 'needs root for userfaultfd';

export class Lingering {
  readonly #child: ChildProcess;
  readonly #socket: number;
  readonly #descriptors: number[] = [];

  private constructor(child: ChildProcess, socket: number) {
    this.#child = child;
    this.#socket = socket;
  }

  /** So many of them. */
  static async start(count: number, kind: LingeringKind = 'sockets'): Promise<Lingering> {
    const [socket, theirs] = native.unixPair();
    const program = kind === 'sockets' ? SOCKETS : EVENTFDS;
    const child = spawn('python3', ['-c', program, `${count}`], {
      stdio: ['ignore', 'ignore', 'inherit', theirs],
    });
    native.closeDescriptor(theirs);
    const one = new Lingering(child, socket);
    const into = new Int32Array(2);
    try {
      for (let i = 0; i < count; i++) {
        await until('a socket that lingers', () => {
          if (child.exitCode !== null) throw new Error('the process that makes them ended');
          return native.receive(socket, new Uint8Array(1), 0, 1, into) === 1;
        });
        one.#descriptors.push(into[1]);
      }
    } catch (error) {
      await one.release();
      throw error;
    }
    return one;
  }

  /** All of them; the taker closes them while somebody else has them, too, or waits. */
  take(): number[] {
    return this.#descriptors.splice(0);
  }

  /** Ends all waiting. */
  async release(): Promise<void> {
    native.closeDescriptor(this.#socket);
    await until('the other ends to close', () => {
      return this.#child.exitCode !== null || this.#child.signalCode !== null;
    }).finally(() => this.#child.kill('SIGKILL'));
    for (const descriptor of this.take()) native.closeDescriptor(descriptor);
  }
}
