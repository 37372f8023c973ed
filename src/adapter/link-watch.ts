/**
 * Follows the host's interfaces through one rtnetlink socket for all adapters. When the kernel lost messages (ENOBUFS), every
 * adapter reads its interface anew.
 */
import { EPOLLIN, type Watcher } from '../watcher.ts';
import { EAGAIN } from '../errno.ts';
import type { Native } from '../native.ts';
import type { Adapter } from './adapter.ts';
import { type LinkMessage, parseLinks } from './rtnetlink.ts';

/** A link message with all its attributes has one or two KiB, and one datagram carries several. */
const BUFFER_BYTES = 64 << 10;
/** Datagrams read at once; the rest when the wait reports them again. */
const BATCH = 64;

export class LinkWatch {
  private readonly native: Native;
  private readonly watcher: Pick<Watcher, 'watch' | 'unwatch'>;
  private readonly adapters: readonly Adapter[];
  private readonly bytes = new Uint8Array(BUFFER_BYTES);
  private readonly fds = new Int32Array(8);
  private readonly fd: number;
  /** Messages were lost since the queue was last empty. What is in it is older than they are, and not all that is lost now is told. */
  private behind = false;

  constructor(
    native: Native,
    watcher: Pick<Watcher, 'watch' | 'unwatch'>,
    adapters: readonly Adapter[],
  ) {
    this.native = native;
    this.watcher = watcher;
    this.adapters = adapters;
    this.fd = native.netlinkOpen();
    watcher.watch(this.fd, EPOLLIN, false, () => this.read());
  }

  /** Takes the messages that wait. */
  read(): void {
    let empty = false;
    for (let count = 0; count < BATCH && !empty; count++) {
      const length = this.native.receive(this.fd, this.bytes, 0, BUFFER_BYTES, this.fds);
      if (length === EAGAIN || length === 0) empty = true;
      else if (length < 0) this.behind = true;
      else if (!this.behind) this.behind = !parseLinks(this.bytes, length, this.onLink);
    }
    if (!this.behind) return;
    for (const adapter of this.adapters) adapter.refreshLink();
    if (empty) this.behind = false;
  }

  private readonly onLink = (message: LinkMessage): void => {
    for (const adapter of this.adapters) adapter.linkChanged(message);
  };

  /** Closes its socket. */
  close(): void {
    this.watcher.unwatch(this.fd);
    this.native.closeDescriptor(this.fd);
  }
}
