/**
 * A way out of the base as routing sees it: what an adapter is to whoever decides about datagrams. Adapters stand above routing
 * (docs/development.md, "Rules") and are this and more.
 */
export interface WayOut {
  /** `network`: index of the one that it leads out of. */
  readonly plan: { readonly network: number };
  /** The MAC it speaks with: six bytes, changed in place. */
  readonly mac: Uint8Array;
  /** Bytes of the longest IP datagram that may leave; 0 until it was opened first. */
  readonly mtu: number;
  /** Drop cell for what would leave now; 0 when it is open. */
  readonly refusal: number;
  readonly neighbours: {
    /** True while nobody has answered for the address (its key). */
    failed(key: number): boolean;
  };
  /**
   * Fills in the MAC addresses for a datagram that leaves to `nextHop` (its key). The verdict: its port, HELD when it waits for the neighbour
   * (then a copy was taken and `waiting` counted), or a drop.
   */
  resolve(slot: number, nextHop: number): number;
  /** Verdict for an ARP frame that came in here. */
  receiveArp(slot: number): number;
}
