/**
 * What a hostile guest puts into its output ring: one lie each, told between good datagrams (good, lie, good, good).
 */
import { BUFFERS, descriptorBytes, type VirtioGuest } from './virtio-guest.ts';
import { RAM_BYTES } from './qtest.ts';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
/** Descriptor and buffer numbers of the lie; good ones are 1, 3 and 4. */
export const LIE = 2;
const SPARE = 100;

export interface Lie {
  name: string;
  /** Prepares descriptors; returns the head to offer and how far the avail index runs ahead. */
  tell(guest: VirtioGuest, frame: Uint8Array): Promise<{ head: number; jump?: number }>;
  /** What basewire does with it. */
  expected: 'recycled' | 'broken' | 'dropped' | 'delivered';
  /** The drop reason that it counts. */
  reason?: string;
}

function direct(
  name: string,
  descriptor: Parameters<VirtioGuest['setDescriptor']>[1],
  expected: Lie['expected'],
  reason: string,
): Lie {
  return {
    name,
    expected,
    reason,
    async tell(guest) {
      await guest.setDescriptor(LIE, descriptor);
      return { head: LIE };
    },
  };
}

function table(name: string, bytes: (at: number) => Buffer, length: number): Lie {
  return {
    name,
    expected: 'recycled',
    reason: 'chainBadIndirect',
    async tell(guest) {
      const at = BUFFERS + SPARE * 4096;
      await guest.qtest.write(at, bytes(at));
      await guest.setDescriptor(LIE, { address: at, length, flags: INDIRECT });
      return { head: LIE };
    },
  };
}

const buffer = BUFFERS + LIE * 4096;

export const LIES: Lie[] = [
  direct(
    'next = 999',
    { address: buffer, length: 12, flags: NEXT, next: 999 },
    'recycled',
    'chainBadNext',
  ),
  direct(
    'a descriptor that is its own next',
    { address: buffer, length: 12, flags: NEXT, next: LIE },
    'recycled',
    'chainLoop',
  ),
  direct('address 2^40', { address: 1n << 40n, length: 76 }, 'recycled', 'chainBadAddress'),
  direct(
    'buffer past the end of RAM',
    { address: RAM_BYTES - 8, length: 76 },
    'recycled',
    'chainBadAddress',
  ),
  direct(
    'address + length wraps 2^64',
    { address: 0xffff_ffff_ffff_fff0n, length: 76 },
    'recycled',
    'chainBadAddress',
  ),
  direct(
    'length 0xffffffff',
    { address: buffer, length: 0xffff_ffff },
    'recycled',
    'chainBadAddress',
  ),
  {
    name: 'head 300 of 256',
    expected: 'broken',
    async tell() {
      return { head: 300 };
    },
  },
  {
    name: 'avail index runs 1000 ahead',
    expected: 'broken',
    async tell(guest) {
      await guest.setDescriptor(LIE, { address: buffer, length: 76 });
      return { head: LIE, jump: 1000 };
    },
  },
  direct('a chain of 5 bytes', { address: buffer, length: 5 }, 'dropped', 'shortChain'),
  direct('exactly a header', { address: buffer, length: 12 }, 'dropped', 'shortChain'),
  direct('nothing but an empty buffer', { address: buffer, length: 0 }, 'dropped', 'shortChain'),
  direct(
    'a device-writable output buffer',
    { address: buffer, length: 76, flags: WRITE },
    'recycled',
    'chainBadDirection',
  ),
  table(
    'indirect table of 24 bytes',
    () => Buffer.concat([descriptorBytes({ address: buffer, length: 76 }), Buffer.alloc(8)]),
    24,
  ),
  table(
    'an indirect table in an indirect table',
    (at) => descriptorBytes({ address: at, length: 16, flags: INDIRECT }),
    16,
  ),
  {
    name: 'a descriptor for each byte',
    expected: 'delivered',
    async tell(guest, frame) {
      await guest.qtest.write(buffer, frame);
      for (let index = 0; index < frame.length; index++) {
        await guest.setDescriptor(SPARE + index, {
          address: buffer + index,
          length: 1,
          ...(index < frame.length - 1 && { flags: NEXT, next: SPARE + index + 1 }),
        });
      }
      return { head: SPARE };
    },
  },
];
