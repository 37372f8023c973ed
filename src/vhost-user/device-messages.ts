/**
 * Requests about the device as a whole: features, owner, queues, MTU, announcement, reset.
 */
import { MAX_PAIRS } from '../plan.ts';
import { has, isSubset, OFFERED_PROTOCOL_FEATURES, PROTOCOL_FEATURE } from '../virtio/features.ts';
import { bits, Refused, u64, u64Reply } from './payload.ts';
import { stopRing } from './ring-messages.ts';
import type { Session } from './session.ts';

/** GET_FEATURES: what this port offers. */
export function getFeatures(session: Session): Uint8Array {
  return u64Reply(session.offered.low, session.offered.high);
}

/** SET_FEATURES: what the driver acknowledged, of what was offered. */
export function setFeatures(session: Session, payload: DataView): undefined {
  const features = bits(payload, 0);
  if (!isSubset(features, session.offered)) throw new Refused('features that were not offered');
  session.attachment.setFeatures(features);
  session.host.changed(session);
}

/** GET_PROTOCOL_FEATURES: the same for every port. */
export function getProtocolFeatures(): Uint8Array {
  return u64Reply(OFFERED_PROTOCOL_FEATURES.low, OFFERED_PROTOCOL_FEATURES.high);
}

/** SET_PROTOCOL_FEATURES: of what was offered. */
export function setProtocolFeatures(session: Session, payload: DataView): undefined {
  const features = bits(payload, 0);
  if (!isSubset(features, OFFERED_PROTOCOL_FEATURES)) {
    throw new Refused('features that were not offered');
  }
  session.protocolFeatures = features;
  session.attachment.sharesLog = has(features, PROTOCOL_FEATURE.LOG_SHMFD);
}

/** SET_OWNER: there is nothing to own, as a connection has one front-end. QEMU sends it after the protocol features. */
export function setOwner(): undefined {}

/** Deprecated; the specification suggests to ignore it or to disable all rings. */
export function resetOwner(session: Session): undefined {
  for (const ring of session.attachment.rings) ring.disable();
  session.attachment.refresh();
  session.host.changed(session);
}

/** For a net device: queue *pairs*. */
export function getQueueNumber(): Uint8Array {
  return u64Reply(MAX_PAIRS);
}

/** The VM moved here and its guest can't announce itself: the LAN learns its place from us. */
export function sendRarp(session: Session, payload: DataView): undefined {
  session.host.announce(session, new Uint8Array(payload.buffer, payload.byteOffset, 6));
}

/** NET_SET_MTU: no longer datagram goes into this VM's input buffer (virtio 1.3 §5.1.4.1), and none longer than its network's MTU. */
export function setMtu(session: Session, payload: DataView): undefined {
  const mtu = u64(payload, 0, 'MTU');
  if (mtu < 68 || mtu > 65535) throw new Refused(`MTU ${mtu} is not within 68..65535`);
  session.attachment.mtu = mtu;
}

/**
 * Rings as after connecting: stopped, disabled and at their beginning. Memory, which QEMU does not send again (MEM_SLOTS), features, sizes and
 * addresses stay.
 */
export function resetDevice(session: Session): undefined {
  for (const ring of session.attachment.rings) {
    stopRing(session, ring);
    ring.disable();
    ring.rewind();
  }
  session.attachment.refresh();
  session.host.changed(session);
}
