/**
 * Requests about one ring (vhost-user.rst, "Ring states"): what the front-end says is kept as it says it, and the ring is
 * mapped when it starts. Whatever changes, the old way is gone when the answer leaves: messages are served between turns.
 */
import type { Ring } from '../port/ring.ts';
import { MAX_QUEUE_SIZE } from '../virtio/virtqueue.ts';
import { Refused, takeDescriptor, u64 } from './payload.ts';
import type { Session } from './session.ts';

const NO_DESCRIPTOR = 0x100;
const LOGGED = 1; // VHOST_VRING_F_LOG

function ringOf(session: Session, index: number): Ring {
  const ring = session.attachment.ring(index);
  if (ring === undefined) throw new Refused(`ring ${index} does not exist`);
  return ring;
}

/** SET_VRING_NUM: entries of the ring, a power of two where it is split. */
export function setSize(session: Session, payload: DataView): undefined {
  const ring = ringOf(session, payload.getUint32(0, true));
  const size = payload.getUint32(4, true);
  const packed = ring.queue.format === 'packed'; // whose size may be any (§2.8.10.1)
  if (size === 0 || size > MAX_QUEUE_SIZE || (!packed && (size & (size - 1)) !== 0)) {
    const rule = packed ? 'within' : 'a power of two within';
    throw new Refused(`ring ${ring.index}: its size ${size} is not ${rule} 1..${MAX_QUEUE_SIZE}`);
  }
  if (ring.started && ring.size !== size)
    throw new Refused(`ring ${ring.index} is started: its size can't change`);
  ring.size = size;
  startIfWhole(session, ring);
}

/** SET_VRING_ADDR: front-end user addresses of the three parts. Of a ring that is started only the logging may change. */
export function setAddress(session: Session, payload: DataView): undefined {
  const ring = ringOf(session, payload.getUint32(0, true));
  const flags = payload.getUint32(4, true);
  const address = {
    descriptors: u64(payload, 8, 'descriptor table address'),
    used: u64(payload, 16, 'used ring address'),
    avail: u64(payload, 24, 'avail ring address'),
    log: (flags & LOGGED) === 0 ? 0 : u64(payload, 32, 'log address'),
    logged: (flags & LOGGED) !== 0,
  };
  if (ring.started && ring.address !== null) {
    const old = ring.address;
    if (
      old.descriptors !== address.descriptors ||
      old.used !== address.used ||
      old.avail !== address.avail
    ) {
      throw new Refused(`ring ${ring.index} is started: its addresses can't change`);
    }
    // A live migration begins or ends: only the logging changes.
    ring.address = address;
    ring.queue.setLogged(address.logged, address.log);
    return;
  }
  const split = ring.queue.format === 'split';
  if (
    address.descriptors % 16 !== 0 ||
    address.avail % (split ? 2 : 4) !== 0 ||
    address.used % 4 !== 0
  ) {
    throw new Refused(
      `ring ${ring.index}: its parts are not aligned to 16, ${split ? 2 : 4} and 4`,
    );
  }
  const { memory } = session.attachment;
  if (memory.count > 0 && ring.size > 0) {
    const inside =
      memory.fromUser(address.descriptors, ring.size * 16) &&
      memory.fromUser(address.avail, split ? 6 + ring.size * 2 : 4) &&
      memory.fromUser(address.used, split ? 6 + ring.size * 8 : 4);
    if (!inside)
      throw new Refused(`ring ${ring.index}: its parts are not wholly inside shared memory`);
  }
  ring.address = address;
  startIfWhole(session, ring);
}

/** SET_VRING_BASE: where a ring that is not started goes on. */
export function setBase(session: Session, payload: DataView): undefined {
  const ring = ringOf(session, payload.getUint32(0, true));
  const base = payload.getUint32(4, true);
  if (base > 0xffff && ring.queue.format === 'split')
    throw new Refused(`ring ${ring.index}: its base ${base} is more than 65535`);
  if (ring.started) throw new Refused(`ring ${ring.index} is started: its base can't change`);
  ring.base = base;
}

/** Stops the ring. All datagrams taken have been given back when this runs, so the answer is exact. */
export function getBase(session: Session, payload: DataView): Uint8Array {
  const ring = ringOf(session, payload.getUint32(0, true));
  stopRing(session, ring);
  session.attachment.refresh();
  session.host.changed(session);
  const reply = new Uint8Array(8);
  const view = new DataView(reply.buffer);
  view.setUint32(0, ring.index, true);
  view.setUint32(4, ring.base, true);
  return reply;
}

/** Ends a ring's work: no access to it and no notification after this. Addresses, size and enabling stay. */
export function stopRing(session: Session, ring: Ring): void {
  if (ring.queue.everMapped) ring.base = ring.queue.base;
  ring.started = false;
  ring.startsWhenWhole = false;
  ring.queue.stop();
  const { attachment } = session;
  if (!attachment.started) {
    attachment.logIsOld = true;
    attachment.awaitsLog = false;
  }
  session.dropDescriptor(ring, 'kickFd');
  session.dropDescriptor(ring, 'callFd');
}

/** The ring index and the descriptor (or -1) of SET_VRING_KICK, CALL and ERR. */
function eventOf(session: Session, payload: DataView, descriptors: number[]): [Ring, number] {
  const value = u64(payload, 0, 'ring index');
  if (value > 0x1ff) throw new Refused('ring index with unknown bits');
  const ring = ringOf(session, value & 0xff);
  if ((value & NO_DESCRIPTOR) !== 0) {
    if (descriptors.length > 0)
      throw new Refused(
        `ring ${ring.index}: a descriptor came along with the bit that says none does`,
      );
    return [ring, -1];
  }
  if (descriptors.length !== 1)
    throw new Refused(`ring ${ring.index}: a descriptor must come along`);
  if (!session.native.isEventfd(descriptors[0]))
    throw new Refused(`ring ${ring.index}: the descriptor is not an eventfd`);
  return [ring, takeDescriptor(descriptors, 0)];
}

/**
 * Starts the ring, or lets it start once all its parts are named. What is in it already is found without a kick: the port is looked at in
 * the next turn. One that can't be mapped as it stands is refused and stays as it was. A started ring that is broken stays so: mapped anew
 * it would go on where it once started, and send what was sent already.
 */
export function setKick(session: Session, payload: DataView, descriptors: number[]): undefined {
  const [ring, fd] = eventOf(session, payload, descriptors);
  const { attachment } = session;
  if (!ring.started) attachment.applyFeatures(ring);
  const early = !ring.started && !isWhole(session, ring);
  const stays = ring.queue.mapped || ring.needsReset;
  const fault = stays || early ? '' : mapRing(session, ring);
  if (fault !== '') {
    if (fd >= 0) session.native.closePassed(fd, session.host.vm);
    if (!ring.started) ring.queue.stop();
    throw new Refused(`ring ${ring.index} can't start: ${fault}`);
  }
  session.dropDescriptor(ring, 'kickFd');
  ring.kickFd = fd;
  if (fd >= 0) session.watchKick(ring);
  ring.startsWhenWhole = early;
  if (early) return;
  if (!ring.started) start(session, ring);
  attachment.refresh();
  session.host.changed(session);
}

function start(session: Session, ring: Ring): void {
  if (!session.attachment.started) session.firstStarts();
  ring.startsWhenWhole = false;
  ring.started = true;
  signalOnce(session, ring);
  session.host.prefer(session);
}

function isWhole(session: Session, ring: Ring): boolean {
  return ring.address !== null && ring.size > 0 && session.attachment.memory.count > 0;
}

/** A part came of a ring that was told to start before. Where they don't fit together it waits on: memory may come in several messages. */
function startIfWhole(session: Session, ring: Ring): void {
  if (!ring.startsWhenWhole || !isWhole(session, ring)) return;
  if (mapRing(session, ring) !== '') {
    ring.queue.stop();
    return;
  }
  start(session, ring);
  session.attachment.refresh();
  session.host.changed(session);
}

/** SET_VRING_CALL: the eventfd by which the driver is interrupted, or none. */
export function setCall(session: Session, payload: DataView, descriptors: number[]): undefined {
  const [ring, fd] = eventOf(session, payload, descriptors);
  session.dropDescriptor(ring, 'callFd');
  ring.callFd = fd;
  if (ring.started) signalOnce(session, ring);
}

/**
 * For what may have been shown before, by a base that died or behind another descriptor: a lost interrupt would hang the guest. Never of a ring
 * that is not started: a suspended device sends no notifications (vhost-user.rst, "Suspended device state").
 */
function signalOnce({ native }: Session, { callFd }: Ring): void {
  if (callFd >= 0) native.signal(callFd);
}

/** SET_VRING_ERR: the eventfd that is signalled when the ring breaks, or none. */
export function setErr(session: Session, payload: DataView, descriptors: number[]): undefined {
  const [ring, fd] = eventOf(session, payload, descriptors);
  session.dropDescriptor(ring, 'errFd');
  ring.errFd = fd;
}

/** SET_VRING_ENABLE. */
export function setEnable(session: Session, payload: DataView): undefined {
  const ring = ringOf(session, payload.getUint32(0, true));
  const value = payload.getUint32(4, true);
  if (value > 1) throw new Refused(`ring ${ring.index}: ${value} is neither 0 nor 1`);
  ring.enable(value === 1);
  session.attachment.refresh();
  session.host.changed(session);
}

/** Maps a started ring's parts; '' or what is wrong, which then also stands in the ring as broken. */
function mapRing(session: Session, ring: Ring): string {
  if (ring.address === null) ring.queue.broken = 'its addresses were never set';
  else {
    ring.queue.broken = ring.queue.map(
      session.native,
      session.attachment.memory,
      ring.size,
      ring.address,
      ring.base,
    );
  }
  ring.queue.stranded = ring.queue.broken !== '';
  return ring.queue.broken;
}

/** After the memory changed: started rings are translated anew and go on where they were, and those that waited for it may start. */
export function remapRings(session: Session): void {
  for (const ring of session.attachment.rings) {
    if (!ring.started) startIfWhole(session, ring);
    else if (ring.address !== null) remap(session, ring);
  }
  session.attachment.refresh();
  session.host.changed(session);
}

function remap(session: Session, ring: Ring): void {
  const { queue } = ring;
  if (ring.needsReset) return;
  const { nextUsed, everMapped } = queue;
  if (everMapped) ring.base = queue.base;
  const fault = mapRing(session, ring);
  if (fault === '' && everMapped) queue.resume(nextUsed);
  if (fault !== '') session.host.ringBroke(ring);
}
