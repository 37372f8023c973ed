/**
 * What is known of the buffers at the head of an input ring that a datagram did not fit into: the next ones need not look again,
 * which can cost thousands of descriptors each. Believed for so many datagrams only, as the driver may have put others there that
 * look the same to us.
 */
const BELIEVED = 64;

export class HeadRoom {
  /** Where the ring's head was; -1: nothing is known. */
  private at = -1;
  /** Bytes that fit there, virtio-net header included. */
  private bytes = 0;
  private left = 0;

  /** All the buffers at the head, at `at` of the ring, have room for `bytes` bytes. */
  remember(at: number, bytes: number): void {
    this.at = at;
    this.bytes = bytes;
    this.left = BELIEVED;
  }

  /** True when `needed` bytes are known not to fit at the head, which is at `at`. */
  lacks(at: number, needed: number): boolean {
    if (at !== this.at || needed <= this.bytes) return false;
    if (this.left-- > 0) return true;
    this.at = -1;
    return false;
  }

  /** Nothing is known any more: the ring was mapped anew. */
  forget(): void {
    this.at = -1;
  }
}
