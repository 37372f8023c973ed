/**
 * Requests about shared memory: regions and the dirty log. Everything is checked and mapped before anything changes; when a
 * check fails the old memory stays valid and running rings go on.
 */
import { overlap, type Placement, type Region } from '../virtio/guest-memory.ts';
import { DirtyLog } from '../virtio/dirty-log.ts';
import { Refused, takeDescriptor, u64, u64Reply } from './payload.ts';
import { remapRings } from './ring-messages.ts';
import type { Session } from './session.ts';

/** Regions in one SET_MEM_TABLE (its descriptors must fit one message). */
const MAX_TABLE = 8;
/** Regions by ADD_MEM_REG; must never shrink between releases, or QEMU refuses to reconnect. */
const MAX_SLOTS = 509;

const PAGE = 4096;
/** Bytes one front-end may have mapped, twice that while a table replaces another: address space is everybody's. */
const MAX_PORT_BYTES = 2 ** 42;
/** Longest dirty log, that of 32 TiB: no view may be longer. */
const MAX_LOG_BYTES = 2 ** 30;

/** A region as a request describes it; `offset`: in the file that comes along. */
interface Description extends Placement {
  offset: number;
}

function readRegion(payload: DataView, at: number): Description {
  const guest = u64(payload, at, 'guest address');
  const bytes = u64(payload, at + 8, 'region size');
  const user = u64(payload, at + 16, 'user address');
  const offset = u64(payload, at + 24, 'mmap offset');
  if (bytes === 0) throw new Refused('region of size 0');
  if (
    guest + bytes > Number.MAX_SAFE_INTEGER ||
    user + bytes > Number.MAX_SAFE_INTEGER ||
    offset + bytes > Number.MAX_SAFE_INTEGER
  ) {
    throw new Refused('region whose end is 2^53 or more');
  }
  // The user address, too: a ring at an odd place of the mapping would make each atomic access a split lock, which stalls the machine.
  if ([guest, bytes, user, offset].some((value) => value % PAGE !== 0)) {
    throw new Refused('region that is not made of whole pages');
  }
  return { guest, bytes, user, offset };
}

function checkTotal(session: Session, bytes: number): void {
  if (bytes > MAX_PORT_BYTES) throw new Refused('more memory than one front-end may share');
  if (bytes + session.native.unmapping(session.host.vm) > 2 * MAX_PORT_BYTES)
    throw new Refused('what was shared before is still being unmapped');
}

function map(session: Session, description: Description, fd: number): Region {
  try {
    const handle = session.native.mapRegion(
      fd,
      description.offset,
      description.bytes,
      session.host.vm,
    );
    return { guest: description.guest, user: description.user, bytes: description.bytes, handle };
  } catch (error) {
    throw new Refused(`region can't be mapped: ${(error as Error).message}`);
  }
}

/** What is mapped keeps its memory: this is not the last close, which would give it back and take its time. */
function closeMapped(session: Session, descriptors: number[]): void {
  for (let index = 0; index < descriptors.length; index++)
    session.native.closeDescriptor(takeDescriptor(descriptors, index));
}

/** SET_MEM_TABLE: replaces all regions, or changes nothing. */
export function setMemoryTable(
  session: Session,
  payload: DataView,
  descriptors: number[],
): undefined {
  const size = session.framing.size;
  if (size < 8) throw new Refused('shorter than its header');
  const count = payload.getUint32(0, true);
  if (count > MAX_TABLE) throw new Refused(`${count} regions (at most ${MAX_TABLE})`);
  if (size !== 8 + 32 * count) throw new Refused(`${size} bytes for ${count} regions`);
  if (descriptors.length !== count) {
    throw new Refused(`${descriptors.length} descriptors for ${count} regions`);
  }
  if (count === 0) throw new Refused('no regions');
  const descriptions = Array.from({ length: count }, (_, index) =>
    readRegion(payload, 8 + 32 * index),
  );
  for (let a = 0; a < count; a++) {
    for (let b = a + 1; b < count; b++) {
      if (overlap(descriptions[a], descriptions[b])) throw new Refused('regions that overlap');
    }
  }
  checkTotal(
    session,
    descriptions.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  const regions: Region[] = [];
  try {
    for (let index = 0; index < count; index++) {
      regions.push(map(session, descriptions[index], descriptors[index]));
    }
  } catch (error) {
    for (const region of regions) session.native.unmapRegion(region.handle);
    throw error;
  }
  closeMapped(session, descriptors);
  for (const ring of session.attachment.rings) ring.queue.unmap();
  session.attachment.memory.replace(regions);
  session.repeated.clear();
  remapRings(session);
}

/** GET_MAX_MEM_SLOTS. */
export function getMaxSlots(): Uint8Array {
  return u64Reply(MAX_SLOTS);
}

/** ADD_MEM_REG. The same region again is no fault (repeated-regions.ts). */
export function addRegion(session: Session, payload: DataView, descriptors: number[]): undefined {
  const description = readRegion(payload, 8);
  const { memory } = session.attachment;
  const { offset } = description;
  // Before anything else is asked of it: its file system may be a process that never answers.
  if (!session.native.isSharedMemory(descriptors[0]))
    throw new Refused(
      'the file is neither a memfd nor on tmpfs or hugetlbfs (QEMU’s memory-backend-memfd, or mem-path=/dev/shm)',
    );
  if (session.repeated.isThere(description, offset, descriptors[0])) return;
  if (memory.count >= MAX_SLOTS) throw new Refused(`more than ${MAX_SLOTS} regions`);
  if (memory.overlaps(description)) {
    throw new Refused('overlaps a region that is there');
  }
  checkTotal(session, memory.bytes + description.bytes);
  memory.add(map(session, description, descriptors[0]));
  session.repeated.add(description, offset, descriptors[0]);
  closeMapped(session, descriptors);
  remapRings(session);
}

/** REM_MEM_REG; a descriptor that comes along is only closed. The same region again is no fault (repeated-regions.ts). */
export function removeRegion(session: Session, payload: DataView): undefined {
  const description = readRegion(payload, 8);
  const { memory } = session.attachment;
  const region = memory.regions.find(
    (candidate) =>
      candidate.guest === description.guest &&
      candidate.user === description.user &&
      candidate.bytes === description.bytes,
  );
  if (region === undefined) {
    if (session.repeated.wasRemoved(description)) return;
    throw new Refused('a region that is not there');
  }
  // Views into the region are gone with it; rings that lay there are broken, all others map again.
  for (const ring of session.attachment.rings) ring.queue.unmap();
  memory.remove(region);
  session.repeated.remove(description);
  remapRings(session);
}

/** SET_LOG_BASE: maps the dirty log of a live migration in place of the one before. It must cover all regions. */
export function setLogBase(session: Session, payload: DataView, descriptors: number[]): Uint8Array {
  const bytes = u64(payload, 0, 'log size');
  const offset = u64(payload, 8, 'log offset');
  if (bytes === 0 || bytes + offset > Number.MAX_SAFE_INTEGER)
    throw new Refused('an impossible size');
  if (bytes > MAX_LOG_BYTES) throw new Refused(`more than ${MAX_LOG_BYTES} bytes`);
  const end = session.attachment.memory.regions.reduce(
    (max, region) => Math.max(max, region.guest + region.bytes),
    0,
  );
  if (bytes * 8 * PAGE < end) throw new Refused('a log that does not cover the memory');
  const region = map(session, { guest: 0, user: 0, bytes, offset }, descriptors[0]);
  closeMapped(session, descriptors);
  session.attachment.takeLog(new DirtyLog(session.native, region.handle, bytes))?.close();
  session.host.changed(session);
  return u64Reply(0);
}

/** An eventfd to say that the log changed; nobody uses it, and it is closed with the message. */
export function setLogFd(): undefined {}
