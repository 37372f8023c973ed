/**
 * The transmit ring against a kernel in TypeScript that behaves as tpacket_snd does: takes frames in order, stops at the first
 * that it can't send, marks it, and never steps over it. What comes of each frame is drawn at random.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PACKET } from '../../src/adapter/packet-layout.ts';
import { EAGAIN, ENETDOWN, ENOBUFS } from '../../src/errno.ts';
import { TransmitRing } from '../../src/adapter/transmit-ring.ts';
import { CELL } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { dirtyStorage, putFrame } from '../support/slots.ts';

const FRAME_BYTES = 256;
const FRAMES = 16;
const START = 4096;
const SENDERS = FRAMES;
/** What anyone may fill, one sender alone, too. */
const FOR_ALL = 14;

/** Takes one frame: 'sent' (and returned at once), 'slow' (held until `complete`), or what goes wrong. */
type Fate = 'sent' | 'slow' | 'malformed' | 'congested' | 'again' | 'down';

class Kernel {
  readonly ring: ArrayBuffer;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly sent: number[] = [];
  fates: Fate[] = [];
  /** The frame that begins with this number is refused whenever it comes. */
  unwanted = -1;
  /** -errno that every call gives, or 0. */
  private head = 0;
  private readonly slow: number[] = [];
  readonly headerBytes: number;
  private readonly frameBytes: number;
  private readonly frames: number;

  constructor(headerBytes: number, frameBytes: number, frames: number) {
    this.headerBytes = headerBytes;
    this.frameBytes = frameBytes;
    this.frames = frames;
    this.ring = new ArrayBuffer(START + frames * frameBytes);
    this.words = new Int32Array(this.ring);
    this.bytes = new Uint8Array(this.ring);
  }

  private status(index: number): number {
    return (START + index * this.frameBytes + PACKET.status) >> 2;
  }

  send(): number {
    for (;;) {
      const status = this.status(this.head);
      if (this.words[status] !== 1) return 0;
      const fate = this.fates.shift() ?? 'sent';
      if (fate === 'down') return ENETDOWN;
      if (fate === 'again') return EAGAIN;
      if (fate === 'congested') return ENOBUFS; // the frame is marked for sending again
      if (fate === 'malformed') {
        this.words[status] = 4;
        return -22;
      }
      const data = START + this.head * this.frameBytes + PACKET.headerBytes;
      const number = this.bytes[data + this.headerBytes];
      if (number === this.unwanted) return ENOBUFS;
      this.sent.push(number);
      if (fate === 'slow') {
        this.words[status] = 2;
        this.slow.push(this.head);
      } else {
        this.words[status] = 0;
      }
      this.head = (this.head + 1) % this.frames;
    }
  }

  /** The driver is done with what it held. */
  complete(): void {
    for (const index of this.slow.splice(0)) this.words[this.status(index)] = 0;
  }
}

function world(headerBytes: 10 | 12 = 12, frameBytes = FRAME_BYTES, frames = FRAMES) {
  const kernel = new Kernel(headerBytes, frameBytes, frames);
  const storage = dirtyStorage();
  const native = {
    packetSend: () => kernel.send(),
    deliverCopies: (count: number) => {
      for (let row = 0; row < count; row++) {
        const cell = row * 6;
        const [region, arena, length] = copies.cells.subarray(cell + 2, cell + 5);
        expect(region).toBe(5);
        const from = storage.bytes.subarray(arena, arena + length);
        kernel.bytes.set(from, copies.offsets[row * 3]);
      }
      return 0;
    },
  } as unknown as Native;
  const copies = new CopyList(native, new ArrayBuffer(24 * 3));
  const shape = { frameBytes, frames };
  const ring = new TransmitRing(
    native,
    9,
    kernel.ring,
    5,
    START,
    shape,
    headerBytes,
    storage,
    copies,
    SENDERS,
  );
  let next = 0;
  return {
    kernel,
    ring,
    storage,
    copies,
    /** Puts a frame that begins with a number of its own; the number, or the refusal as a text. */
    put(length = 60, from = 0): number | string {
      storage.clear();
      const frame = new Uint8Array(length).fill(next);
      const refusal = ring.put(putFrame(storage, frame, { gsoSize: 0x1234 }, from));
      copies.deliver();
      return refusal === 0 ? next++ & 0xff : Object.keys(CELL)[refusal];
    },
  };
}

describe('transmit ring', () => {
  it.each([10, 12] as const)('writes a header of %i bytes and the frame', (headerBytes) => {
    const { kernel, ring, put } = world(headerBytes);
    put(100);
    expect(kernel.words[(START + PACKET.length) >> 2]).toBe(100 + headerBytes);
    expect(ring.publish()).toBe(0);
    const data = START + PACKET.headerBytes;
    expect(kernel.bytes[data + 4] | (kernel.bytes[data + 5] << 8)).toBe(0x1234);
    const frame = kernel.bytes.subarray(data + headerBytes, data + headerBytes + 100);
    expect(frame.every((byte) => byte === 0)).toBe(true);
    expect(kernel.sent).toEqual([0]);
  });

  it('has the kernel copy a short frame as a whole, and of one to be segmented its headers', () => {
    const { kernel, ring, storage, copies } = world();
    const hints = [{}, { headerLength: 54, gsoSize: 100 }].map((header, index) => {
      storage.clear();
      expect(ring.put(putFrame(storage, new Uint8Array(150), header))).toBe(0);
      copies.deliver();
      const data = START + index * FRAME_BYTES + PACKET.headerBytes;
      return kernel.bytes[data + 2] | (kernel.bytes[data + 3] << 8);
    });
    expect(hints).toEqual([150, 54]);
  });

  it('refuses what is longer than a ring frame, and what finds no place', () => {
    const { kernel, ring, put } = world();
    expect(put(FRAME_BYTES - PACKET.headerBytes - 12)).toBe(0);
    expect(put(FRAME_BYTES - PACKET.headerBytes - 11)).toBe('tooBig');
    kernel.fates = ['again'];
    for (let index = 1; index < FOR_ALL; index++) expect(put()).toBe(index);
    expect(put()).toBe('adapterFull');
    kernel.fates = Array(FOR_ALL).fill('slow');
    ring.publish();
    expect(ring.needsKick).toBe(false);
    expect(put(), 'the driver holds them').toBe('adapterFull');
    kernel.complete();
    expect(put()).toBe(FOR_ALL);
  });

  it('has what was put sent before it is full', () => {
    const { kernel, ring, put } = world();
    for (let index = 0; index < 5 * FRAMES; index++) expect(put()).toBe(index);
    expect(kernel.sent.length).toBeGreaterThan(4 * FRAMES);
    ring.publish();
    expect(kernel.sent).toEqual(Array.from({ length: 5 * FRAMES }, (_, index) => index));
  });

  it('tells at the end of the turn that the interface was down in its midst', () => {
    const { kernel, ring, put } = world();
    kernel.fates = ['down'];
    while (typeof put() === 'number');
    expect(kernel.fates).toEqual([]);
    expect(ring.isEmpty).toBe(false);
    expect(ring.publish()).toBe(ENETDOWN);
    expect(ring.publish()).toBe(0);
    expect(ring.isEmpty).toBe(true);
  });

  it('keeps places for those who have little in it', () => {
    const { kernel, ring, put } = world();
    kernel.fates = Array(3).fill('again');
    const fill = (from: number) => {
      let count = 0;
      while (typeof put(60, from) === 'number') count++;
      return count;
    };
    expect(fill(0)).toBe(FOR_ALL);
    expect(fill(1)).toBe(1);
    expect(fill(2)).toBe(1);
    expect(fill(3)).toBe(0);
    // What left is nobody's any more, nor what was taken back or refused.
    kernel.fates = [];
    ring.publish();
    kernel.fates = ['again'];
    expect(fill(1)).toBe(FOR_ALL);
    ring.rewind();
    kernel.fates = ['again'];
    expect(fill(2)).toBe(FOR_ALL);
    expect(fill(3)).toBe(1);
    kernel.fates = [...Array(6).fill('malformed'), ...Array(FOR_ALL - 6).fill('sent'), 'slow'];
    ring.publish();
    kernel.fates = ['again', 'again'];
    expect(fill(3), 'one of its is with the driver').toBe(FOR_ALL - 1);
  });

  it('takes back what was not taken when the interface is down', () => {
    const { kernel, ring, put } = world();
    put();
    put();
    kernel.fates = ['sent', 'down'];
    expect(ring.publish()).toBe(ENETDOWN);
    expect(ring.rewind()).toBe(1);
    expect(ring.needsKick).toBe(false);
    put();
    expect(ring.publish()).toBe(0);
    expect(kernel.sent).toEqual([0, 2]);
  });

  it('does not try for ever in one call', () => {
    const { kernel, ring, put } = world(12, FRAME_BYTES, 64);
    kernel.fates = Array(4).fill('again');
    for (let count = 0; count < 48; count++) put(60, count % SENDERS);
    kernel.fates = Array(64).fill('congested');
    ring.publish();
    expect(ring.refused).toBe(32);
    expect(kernel.fates.length).toBe(64 - 33);
    kernel.fates = [];
    ring.publish();
    expect(kernel.sent).toEqual(Array.from({ length: 16 }, (_, index) => 32 + index));
  });

  it.each([
    ['short ones', 60],
    ['long ones', 60_000],
  ])(
    'a frame that is always refused neither holds the others up nor changes their order: %s',
    (_, length) => {
      const { kernel, ring, put } = world(12, 17 * 4096, 32);
      kernel.unwanted = 3;
      for (let count = 0; count < 25; count++) expect(put(length, count % SENDERS)).toBe(count);
      ring.publish();
      expect(ring.needsKick).toBe(false);
      expect(ring.refused).toBe(1);
      const others = Array.from({ length: 25 }, (_, index) => index).filter((index) => index !== 3);
      expect(kernel.sent).toEqual(others);
    },
  );

  it('gives up nothing but what was refused, however much waits', () => {
    const { kernel, ring, put } = world(12, 17 * 4096, 64);
    kernel.fates = Array(8).fill('again');
    for (let count = 0; count < 50; count++) expect(put(60_000, count % SENDERS)).toBe(count);
    for (const end of ['again', 'down'] as const) {
      kernel.fates = ['congested', 'sent', 'sent', end];
      ring.publish();
    }
    expect(ring.refused).toBe(2);
    expect(kernel.sent).toEqual([1, 2, 4, 5]);
    // More behind those that have not moved up; all of it leaves in order.
    for (let count = 50; count < 54; count++) expect(put(60_000, count % SENDERS)).toBe(count);
    ring.publish();
    expect(ring.needsKick).toBe(false);
    expect(kernel.sent).toEqual([1, 2, ...Array.from({ length: 50 }, (_, index) => 4 + index)]);
    // And the ring is as large as before.
    kernel.fates = Array(64).fill('again');
    let fits = 0;
    while (typeof put(60, 0) === 'number') fits++;
    expect(fits).toBe(56);
  });

  it('takes back what waits in two parts when the interface is down', () => {
    const { kernel, ring, put } = world(12, 17 * 4096, 64);
    kernel.fates = Array(8).fill('again');
    for (let count = 0; count < 50; count++) expect(put(60_000, count % SENDERS)).toBe(count);
    kernel.fates = ['congested', 'sent', 'down'];
    expect(ring.publish()).toBe(ENETDOWN);
    expect(ring.rewind()).toBe(48);
    expect(ring.refused).toBe(49);
    expect(ring.needsKick).toBe(false);
    expect(put(60)).toBe(50);
    ring.publish();
    expect(kernel.sent).toEqual([1, 50]);
  });

  it('sends every good frame once, whatever happens to the others', () => {
    const fate = fc.constantFrom<Fate>(
      'sent',
      'sent',
      'slow',
      'malformed',
      'congested',
      'again',
      'down',
    );
    const turn = fc.record({
      puts: fc.nat(10),
      fates: fc.array(fate, { maxLength: 12 }),
      complete: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(turn, { maxLength: 20 }),
        fc.constantFrom(10 as const, 12 as const),
        // Of long ones only some move up at once.
        fc.constantFrom([60, FRAME_BYTES] as const, [60_000, 17 * 4096] as const),
        (turns, header, [length, frameBytes]) => {
          const { kernel, ring, put } = world(header, frameBytes);
          const taken: number[] = [];
          for (const { puts, fates, complete } of turns) {
            for (let count = 0; count < puts; count++) {
              const result = put(length);
              if (typeof result === 'number') taken.push(result);
            }
            kernel.fates = [...fates];
            const result = ring.publish();
            if (result !== 0) {
              expect(result).toBe(ENETDOWN);
              ring.rewind();
            }
            if (complete) kernel.complete();
          }
          kernel.fates = [];
          while (ring.needsKick) ring.publish();
          // Nothing twice, nothing that was not put, and the rest is accounted for.
          expect(new Set(kernel.sent).size).toBe(kernel.sent.length);
          expect(taken).toEqual(expect.arrayContaining(kernel.sent));
          expect(kernel.sent, 'in order').toEqual(kernel.sent.toSorted((a, b) => a - b));
          expect(kernel.sent.length + ring.refused).toBe(taken.length);
        },
      ),
    );
  });
});
