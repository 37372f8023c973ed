/**
 * Ranked case 7: a second thread rewrites descriptors, virtio-net headers, source and destination while the base works on them. What
 * is delivered obeys the checks as delivered: the source is the sender's own, no frame is longer than any may be.
 */
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { BASE_MAC } from '../support/daemon.ts';
import { DESC } from '../support/driver.ts';
import { asPacked, PACKED } from '../support/driver-packed.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS } from '../support/formats.ts';
import { ipBytes, macBytes, PROTOCOL, parse } from '../support/packets.ts';
import { LONG } from '../support/random.ts';
import { A, B, C, udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';

const ADDON = fileURLToPath(new URL('../../build/Release/basewire.node', import.meta.url));
const TWIN = new URL('./evil-twin-thread.mjs', import.meta.url);
const MILLISECONDS = LONG ? 60_000 : 2000;
const LONGEST_FRAME = 65550;

interface Place {
  at: number;
  values: Uint8Array[];
}

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};

/** The IP header checksum goes with the source, so that both versions are well-formed. */
function sourceValues(frame: Buffer): { checksum: Uint8Array[]; source: Uint8Array[] } {
  const spoofed = udpFrame({ mac: A.mac, ip: C.ip }, B.ip, frame.subarray(42));
  return {
    checksum: [Buffer.from(frame.subarray(24, 26)), Buffer.from(spoofed.subarray(24, 26))],
    source: [ipBytes(A.ip), ipBytes(C.ip), ipBytes('127.0.0.1')],
  };
}

describe('the evil twin', () => {
  const fixture = useFixture(BOTH_FORMATS);

  async function withTwin(a: Vm, places: Place[], work: () => Promise<void>): Promise<void> {
    const region = a.memory.regions.at(-1)!;
    const stop = new SharedArrayBuffer(4);
    const twin = new Worker(TWIN, {
      workerData: {
        addon: ADDON,
        descriptor: region.descriptor,
        offset: Number(region.mapOffset),
        length: region.length,
        places: places.map(({ at, values }) => ({ at: at - region.at, values })),
        stop,
      },
    });
    const ended = new Promise<void>((resolve, reject) => {
      twin.on('exit', () => resolve());
      twin.on('error', reject);
    });
    try {
      await work();
    } finally {
      Atomics.store(new Int32Array(stop), 0, 1);
      await ended;
    }
  }

  /** Sends for a while; judges everything that arrives at b besides the flow. Returns how many that were. */
  function sendAndJudge(a: Vm, frame: Buffer, atLeast = 0): Promise<number> {
    return judge(async () => {
      for (let i = 0; i < 32; i++) if (!a.trySend(frame)) break;
    }, atLeast);
  }

  async function judge(step: () => Promise<void>, atLeast = 0): Promise<number> {
    const { flow, b } = fixture();
    const end = performance.now() + MILLISECONDS;
    let judged = 0;
    // Longer, on a machine where none came through by then: without any the test would say nothing.
    while (performance.now() < (judged >= atLeast ? end : end + 40_000)) {
      await step();
      await pause();
      for (const { frame: got } of flow.others(b).splice(0)) {
        const parsed = parse(got);
        expect(parsed.source).toBe(BASE_MAC);
        expect(parsed.destination).toBe(B.mac);
        expect(got.length).toBeLessThanOrEqual(LONGEST_FRAME);
        expect(parsed.ip?.source, 'nobody else’s source').toBe(A.ip);
        expect(parsed.problems.filter((problem) => problem.startsWith('IPv4'))).toEqual([]);
        expect([PROTOCOL.udp, PROTOCOL.tcp]).toContain(parsed.ip?.protocol);
        judged++;
      }
    }
    return judged;
  }

  /** After the twin has gone: a fresh start of the rings, then an honest datagram. */
  async function afterwards(a: Vm): Promise<void> {
    await a.stopRing(1);
    a.transmitQueue().reset();
    await a.startRing(1);
    fixture().flow.others(fixture().b).splice(0);
    await fixture().flow.advance();
    fixture().flow.others(fixture().b).splice(0);
    await fixture().goodPasses(a);
  }

  test('rewrites source, MAC and lengths in the frame', {
    timeout: MILLISECONDS + 60_000,
  }, async () => {
    const a = await fixture().attacker({ queueSize: 64 });
    const frame = udpFrame(A, B.ip, Buffer.alloc(200, 7));
    const { checksum, source } = sourceValues(frame);
    const queue = a.transmitQueue();
    const places: Place[] = [];
    // the frame lies in the second descriptor's slot of each chain
    for (let slot = 0; slot < queue.size; slot++) {
      const at = queue.slot(slot);
      places.push(
        { at: at + 26, values: source },
        { at: at + 24, values: checksum },
        { at: at + 6, values: [macBytes(A.mac), macBytes(B.mac), macBytes('ff:ff:ff:ff:ff:ff')] },
        {
          at: at + 16,
          values: [Buffer.from([0, 228]), Buffer.from([255, 255]), Buffer.from([0, 19])],
        },
      );
    }
    let judged = 0;
    await withTwin(a, places, async () => {
      judged = await sendAndJudge(a, frame, 1);
    });
    expect(judged, 'some got through whole').toBeGreaterThan(0);
    await afterwards(a);
  });

  test('rewrites descriptors', { timeout: MILLISECONDS + 60_000 }, async () => {
    const a = await fixture().attacker({ queueSize: 64 });
    const frame = udpFrame(A, B.ip, Buffer.alloc(200, 7));
    const queue = a.transmitQueue();
    const places: Place[] = [];
    for (let index = 0; index < queue.size; index++) {
      const at = queue.descriptorsAt + 16 * index;
      places.push(
        { at: at + 8, values: [u32(12), u32(frame.length), u32(0xffffffff), u32(0), u32(70000)] },
        { at, values: [u32(queue.slot(index)), u32(0xb0000), u32(0xfffffff0)] },
        {
          at: at + 12,
          values: [
            Buffer.from([1, 0]),
            Buffer.from([0, 0]),
            Buffer.from([4, 0]),
            Buffer.from([2, 0]),
          ],
        },
        {
          at: at + 14,
          values: [
            Buffer.from([(index + 1) % 64, 0]),
            Buffer.from([index, 0]),
            Buffer.from([255, 255]),
          ],
        },
      );
    }
    let judged = 0;
    await withTwin(a, places, async () => {
      judged = await sendAndJudge(a, frame, 1);
    });
    expect(judged, 'some got through whole').toBeGreaterThan(0);
    await afterwards(a);
  });

  test('rewrites descriptors of a packed ring, wrap bits included', {
    timeout: MILLISECONDS + 60_000,
  }, async () => {
    const a = await fixture().attacker({ queueSize: 64, packed: true });
    const frame = udpFrame(A, B.ip, Buffer.alloc(200, 7));
    const whole = Buffer.concat([Buffer.alloc(12), frame]);
    const queue = asPacked(a.transmitQueue());
    const places: Place[] = [];
    for (let index = 0; index < queue.size; index++) {
      const at = queue.descriptorsAt + 16 * index;
      a.memory.bytes(queue.slot(index), whole.length).set(whole);
      places.push(
        { at: at + 8, values: [u32(whole.length), u32(0xffffffff), u32(0), u32(70000)] },
        { at, values: [u32(queue.slot(index)), u32(0xb0000), u32(0xfffffff0)] },
        { at: at + 12, values: [Buffer.from([index, 0]), Buffer.from([255, 255])] },
        // available in either lap, used, neither; alone, with NEXT, INDIRECT or WRITE
        ...[0, 0, 0, DESC.indirect, DESC.write].map((kind) => ({
          at: at + 14,
          values: [PACKED.avail, PACKED.used, PACKED.avail | PACKED.used, 0].map((bits) =>
            u32(bits | kind).subarray(0, 2),
          ),
        })),
      );
    }
    places.push({
      at: queue.descriptorsAt + 14,
      values: [u32(PACKED.avail | DESC.next).subarray(0, 2), u32(PACKED.avail).subarray(0, 2)],
    });
    let judged = 0;
    await withTwin(a, places, async () => {
      judged = await judge(async () => {
        for (let i = 0; i < 10; i++) queue.kick();
        if ((await fixture().daemon.vm('a')).state !== 'broken') return;
        // A chain without an end: what a driver does then
        await a.stopRing(1);
        await a.startRing(1);
      }, 1);
    });
    expect(judged, 'some got through whole').toBeGreaterThan(0);
    await afterwards(a);
  });

  test('rewrites the virtio-net header', { timeout: MILLISECONDS + 60_000 }, async () => {
    const a = await fixture().attacker({ queueSize: 64 });
    const frame = udpFrame(A, B.ip, Buffer.alloc(200, 7));
    const queue = a.transmitQueue();
    const places: Place[] = [];
    for (let slot = 0; slot < queue.size; slot += 1) {
      const at = queue.slot(slot); // header slots; in frame slots it rewrites the destination MAC, which is ignored
      places.push({
        at,
        values: [
          Buffer.alloc(10),
          Buffer.from([1, 0, 0, 0, 0, 0, 34, 0, 6, 0]),
          Buffer.from([1, 1, 54, 0, 0, 1, 34, 0, 16, 0]),
          Buffer.from([1, 0, 0, 0, 0, 0, 255, 255, 255, 255]),
          Buffer.from([1, 9, 255, 255, 0, 0, 255, 255, 0, 0]),
        ],
      });
    }
    // the frame's own first ten bytes are overwritten as well where the slots take turns: keep the frame elsewhere
    await withTwin(a, places, async () => {
      const end = performance.now() + MILLISECONDS;
      const { flow, b } = fixture();
      while (performance.now() < end) {
        for (let i = 0; i < 32; i++) if (!a.trySend(frame)) break;
        await pause();
        for (const { frame: got, header } of flow.others(b).splice(0)) {
          expect(parse(got).ip?.source).toBe(A.ip);
          if ((header.flags & 1) !== 0) {
            expect(header.checksumStart + header.checksumOffset + 2).toBeLessThanOrEqual(
              got.length,
            );
          }
          expect([0, 1]).toContain(header.gsoType & 0x7f);
        }
      }
    });
    await afterwards(a);
  });
});
