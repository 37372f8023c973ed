/**
 * Datagrams that wait for a neighbour's MAC address: copies of [virtio-net header][frame], outside the arena.
 *
 * Bounded per neighbour, per port and in all, so that a guest that talks to addresses nobody has takes little and takes it from
 * nobody else. Each waiting datagram is counted in `waiting` of the port it came from.
 */
import { CELL, type Counters } from '../counters.ts';
import { MAX_PIECES } from '../routing/offload.ts';
import { SharedRoom } from '../storage/shared-room.ts';

/** All pieces of one datagram (routing/pieces.ts), so that the first one to a neighbour arrives, too. */
const PER_NEIGHBOUR = MAX_PIECES;
/** Some more may wait for one whose senders have fewer there than are still free. */
const PER_NEIGHBOUR_WITH_FEW = PER_NEIGHBOUR + PER_NEIGHBOUR / 4;
/** At least one datagram of full size may always wait. */
const BYTES = 256 << 10;
const BYTES_A_PORT = 128 << 10;
/** What anyone may fill; the rest is for ports that have less there than is still free. */
const BYTES_FOR_ALL = 190 << 10;

export interface Waiting {
  /** Port it came from, -1: the base. */
  from: number;
  packet: Uint8Array;
}

export class WaitingRoom {
  private readonly lists = new Map<number, Waiting[]>();
  private readonly counters: Counters;
  /** In bytes. */
  private readonly room: SharedRoom;

  /** Senders are -1 (the base) to `senders` - 1. */
  constructor(counters: Counters, senders: number) {
    this.counters = counters;
    this.room = new SharedRoom(BYTES, BYTES_FOR_ALL, senders);
  }

  /** Bytes that wait. */
  get size(): number {
    return this.room.used;
  }

  /** True when a datagram of `length` bytes from `from` may wait for the neighbour. */
  admits(entry: number, from: number, length: number): boolean {
    const list = this.lists.get(entry);
    const { room } = this;
    return (
      (list === undefined ||
        list.length < PER_NEIGHBOUR ||
        list.length + countOf(list, from) < PER_NEIGHBOUR_WITH_FEW) &&
      room.mayTake(from, length) &&
      room.shareOf(from) + length <= BYTES_A_PORT
    );
  }

  /** Takes a datagram that was admitted. Keeps `packet`. */
  add(entry: number, from: number, packet: Uint8Array): void {
    const list = this.lists.get(entry);
    if (list === undefined) this.lists.set(entry, [{ from, packet }]);
    else list.push({ from, packet });
    this.room.take(from, packet.length);
    if (from >= 0) this.counters.add(from, 'waiting');
  }

  /** Takes out all that waits for the neighbour, in order of arrival, and out of `waiting`. */
  take(entry: number): Waiting[] {
    const list = this.lists.get(entry);
    if (list === undefined) return [];
    this.lists.delete(entry);
    for (const { from, packet } of list) {
      this.room.give(from, packet.length);
      if (from >= 0) this.counters.add(from, 'waiting', -1);
    }
    return list;
  }

  /** Drops all that waits for the neighbour, counted on the ports it came from; what it was. */
  drop(entry: number, cell: number): Waiting[] {
    const list = this.take(entry);
    for (const { from } of list) this.count(from, cell);
    return list;
  }

  /** Counts a drop of something that waited. */
  count(from: number, cell: number): void {
    if (from >= 0) this.counters.cells[this.counters.firstCell(from) + cell]++;
  }

  /** Drops all that waits, counted on the ports it came from. */
  dropAll(cell: number): void {
    for (const entry of [...this.lists.keys()]) this.drop(entry, cell);
  }
}

function countOf(list: readonly Waiting[], from: number): number {
  let count = 0;
  for (let index = 0; index < list.length; index++) if (list[index].from === from) count++;
  return count;
}

/** Cell for what waited in vain. */
export const UNRESOLVED = CELL.neighbourUnresolved;
