/**
 * Tags of VLAN 0 carry a priority and name no VLAN (IEEE 802.1Q §6.9): Windows sends them where an application or a policy asks for a priority. The
 * datagram behind one is routed like any other. A tag that names a VLAN stays: nobody here serves it.
 */
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import { swap16 } from '../wire/bytes.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as header from '../wire/virtio-net-header.ts';
import { ARP, IPV4 } from './ether-types.ts';

export const TAG_BYTES = 4;
/** VLAN id, as this machine reads the tag's second half out of a frame. */
const VLAN_ID = swap16(0x0fff);

/**
 * Takes the tag off the frame in `slot`, whose EtherType is TYPE_VLAN, if it is one of VLAN 0: the frame begins four bytes later then, and so does what its
 * virtio-net header says. Not if something else than IPv4 or ARP is behind it, such as a second tag.
 */
export function takePriorityTag(storage: BaseStorage, slot: number): void {
  const { bytes, halves } = storage;
  const at = storage.at[slot];
  if (storage.length[slot] < ethernet.HEADER_BYTES + TAG_BYTES) return;
  if ((halves[(at + ethernet.HEADER_BYTES) >> 1] & VLAN_ID) !== 0) return;
  const type = halves[(at + TAG_BYTES + ethernet.ETHER_TYPE) >> 1];
  if (type !== IPV4 && type !== ARP) return;
  const start = at - HEADER_BYTES;
  bytes.copyWithin(start + TAG_BYTES, start, at + ethernet.ETHER_TYPE);
  storage.at[slot] = at + TAG_BYTES;
  storage.length[slot] -= TAG_BYTES;
  const moved = start + TAG_BYTES;
  if ((header.flags(bytes, moved) & header.NEEDS_CSUM) === 0) return;
  // What does not lie in the frame is refused by `checkOffload`, below 0 as above its end.
  header.setCsumStart(bytes, moved, header.csumStart(bytes, moved) - TAG_BYTES);
}
