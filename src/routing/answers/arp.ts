/** ARP as the base speaks it: replies in base storage, requests and announcements as packets for the outbox. */
import { BASE } from '../../storage/outbox.ts';
import { HEADER_BYTES, type BaseStorage } from '../../storage/base-storage.ts';
import * as arp from '../../wire/arp.ts';
import * as ethernet from '../../wire/ethernet.ts';
import * as mac from '../../wire/mac.ts';
import * as virtio from '../../wire/virtio-net-header.ts';
import { UNDECIDED } from '../verdict.ts';

const FRAME_BYTES = ethernet.HEADER_BYTES + arp.PACKET_BYTES;

/**
 * Appends the answer to the checked ARP request in `slot`: the address asked for is at `baseMac`. `padded` fills the frame
 * with zeros to what a wire wants; a VM's port needs none. Returns the new slot, `to` undecided, or -1 when storage is full.
 */
export function arpReply(
  storage: BaseStorage,
  slot: number,
  baseMac: Uint8Array,
  padded: boolean,
): number {
  const length = padded ? ethernet.MIN_WIRE_BYTES : FRAME_BYTES;
  const reply = storage.take(BASE, length);
  if (reply < 0) return -1;
  storage.to[reply] = UNDECIDED;
  const bytes = storage.bytes;
  const asked = storage.at[slot];
  const at = storage.at[reply];
  virtio.clear(storage.halves, storage.words, at);

  const from = asked + ethernet.HEADER_BYTES;
  const to = at + ethernet.HEADER_BYTES;
  // To whom the request names (RFC 826): its frame may come from another address, an access point's, or one that hides a cluster's.
  mac.copy(bytes, at + ethernet.DESTINATION, bytes, from + arp.SENDER_MAC);
  mac.copy(bytes, at + ethernet.SOURCE, baseMac, 0);
  ethernet.setEtherType(bytes, at, ethernet.TYPE_ARP);

  arp.setTypes(bytes, to);
  arp.setOperation(bytes, to, arp.REPLY);
  mac.copy(bytes, to + arp.SENDER_MAC, baseMac, 0);
  arp.setSenderIp(bytes, to, arp.targetIp(bytes, from));
  mac.copy(bytes, to + arp.TARGET_MAC, bytes, from + arp.SENDER_MAC);
  arp.setTargetIp(bytes, to, arp.senderIp(bytes, from));
  // What an earlier turn left behind must not go out as padding.
  if (padded) bytes.fill(0, at + FRAME_BYTES, at + length);
  return reply;
}

/**
 * A broadcast request for `target`'s MAC from `sender` at `senderMac` (addresses as keys), as a packet for the outbox:
 * virtio-net header of zeros and a frame of 60 bytes. `sender` 0 makes it a probe.
 */
export function arpRequest(senderMac: Uint8Array, sender: number, target: number): Uint8Array {
  const packet = new Uint8Array(HEADER_BYTES + ethernet.MIN_WIRE_BYTES);
  const at = HEADER_BYTES;
  mac.copy(packet, at + ethernet.DESTINATION, mac.BROADCAST_MAC, 0);
  mac.copy(packet, at + ethernet.SOURCE, senderMac, 0);
  ethernet.setEtherType(packet, at, ethernet.TYPE_ARP);
  const body = at + ethernet.HEADER_BYTES;
  arp.setTypes(packet, body);
  arp.setOperation(packet, body, arp.REQUEST);
  mac.copy(packet, body + arp.SENDER_MAC, senderMac, 0);
  arp.setSenderIp(packet, body, sender);
  // The target's MAC is what we ask for: zeros.
  arp.setTargetIp(packet, body, target);
  return packet;
}

/** Says that `address` is at `mac`: an ARP announcement (RFC 5227 §3), as a packet for the outbox. */
export function gratuitousArp(mac: Uint8Array, address: number): Uint8Array {
  return arpRequest(mac, address, address);
}
