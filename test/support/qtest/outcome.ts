/**
 * Tells one lie between good datagrams to any back-end and sees what the guest sees of it.
 */
import { until } from '../until.ts';
import { LIE, type Lie } from './cases.ts';
import { BUFFERS, type VirtioGuest } from './virtio-guest.ts';

export interface Outcome {
  /** Chains given back of the four offered (good, lie, good, good). */
  used: number;
  /** After the guest's driver has reset its device: of three good ones. */
  usedAfterReset: number;
}

/** How long a back-end may take before it counts as stalled: it takes microseconds when it works. */
const PATIENCE = 3000;

async function usedReaches(guest: VirtioGuest, count: number): Promise<number> {
  try {
    await until(`used.idx ${count}`, async () => (await guest.used()) === count, PATIENCE);
  } catch {
    // Stalled, or stopped: what it is, is what we report.
  }
  return guest.used();
}

export async function good(guest: VirtioGuest, frame: Uint8Array, index: number): Promise<number> {
  await guest.qtest.write(BUFFERS + index * 4096, frame);
  await guest.setDescriptor(index, { address: BUFFERS + index * 4096, length: frame.length });
  return index;
}

/** `frame`: a virtio-net header of 12 bytes and an Ethernet frame that is delivered or dropped for its receiver only. */
export async function tellLie(guest: VirtioGuest, lie: Lie, frame: Uint8Array): Promise<Outcome> {
  await guest.reset();
  const first = await good(guest, frame, 1);
  await guest.offer([first]);
  await usedReaches(guest, 1);
  await guest.qtest.write(BUFFERS + LIE * 4096, frame);
  const { head, jump } = await lie.tell(guest, frame);
  await guest.offer([head], jump);
  await guest.offer([await good(guest, frame, 3), await good(guest, frame, 4)], jump);
  const used = await usedReaches(guest, 4);
  await guest.reset();
  await guest.offer([
    await good(guest, frame, 1),
    await good(guest, frame, 3),
    await good(guest, frame, 4),
  ]);
  return { used, usedAfterReset: await usedReaches(guest, 3) };
}
