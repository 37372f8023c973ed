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
    let whole = true;
    for (let count = 0; count < BATCH; count++) {
      const length = this.native.receive(this.fd, this.bytes, 0, BUFFER_BYTES, this.fds);
      if (length === EAGAIN || length === 0) break;
      whole &&= length > 0 && parseLinks(this.bytes, length, this.onLink);
    }
    if (!whole) for (const adapter of this.adapters) adapter.refreshLink();
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
