import { describe, expect, test } from 'vitest';
import { FlowPairs, flowOf } from '../../src/port/flow-pairs.ts';
import { BaseStorage, FRAME_OFFSET } from '../../src/storage/base-storage.ts';
import { A, B, echoFrame, ipFrame, tcpFrame, udpFrame } from '../support/traffic.ts';

const UDP = 17;

function flow(frame: Uint8Array): number {
  const storage = new BaseStorage(new ArrayBuffer(1 << 16), 1 << 16, 1);
  storage.bytes.set(frame, FRAME_OFFSET);
  return flowOf(storage.words, storage.bytes, FRAME_OFFSET);
}

const udp = (from: typeof A, to: typeof A, ports: [number, number]) =>
  flow(udpFrame(from, to.ip, Buffer.alloc(40), { ports }));

describe('a flow', () => {
  test('is the same in both directions', () => {
    expect(udp(B, A, [53, 40_000])).toBe(udp(A, B, [40_000, 53]));
    expect(flow(tcpFrame(B, A.ip, Buffer.alloc(9)))).not.toBe(udp(A, B, [40_000, 53]));
    expect(flow(echoFrame(A, B.ip, 10))).toBe(flow(echoFrame(B, A.ip, 99)));
  });

  test('is another one for each port', () => {
    const flows = new Set<number>();
    for (let port = 1; port <= 1000; port++) flows.add(udp(A, B, [5000, port]));
    expect(flows.size).toBe(1000);
  });

  test('of a fragment has no ports', () => {
    const payload = Buffer.alloc(64, 1);
    const first = flow(ipFrame(A, B.ip, UDP, payload, { flags: 1 }));
    const second = flow(
      ipFrame(A, B.ip, UDP, Buffer.alloc(64, 2), { flags: 0, fragmentOffset: 8 }),
    );
    expect(second).toBe(first);
  });

  test('with IP options has none either', () => {
    const [one, other] = ['01010101', '07040400'].map((options, index) =>
      flow(
        ipFrame(A, B.ip, UDP, Buffer.alloc(64, index), { options: Buffer.from(options, 'hex') }),
      ),
    );
    expect(other).toBe(one);
  });
});

describe('pairs of flows', () => {
  const time = new Float64Array(1);
  function make() {
    time[0] = 1000;
    return new FlowPairs();
  }

  test('what comes follows what was sent', () => {
    const pairs = make();
    for (let pair = 0; pair < 4; pair++) {
      const each = udp(A, B, [6000 + pair, 53]);
      pairs.sent(each, pair, time);
      expect(pairs.of(each, 0, time)).toBe(pair);
    }
  });

  test('an unknown flow has the usual one, and keeps it while something comes', () => {
    const pairs = make();
    const one = udp(A, B, [6000, 53]);
    expect(pairs.of(one, 2, time)).toBe(2);
    for (let step = 0; step < 200; step++) {
      time[0] += 1;
      pairs.sent(one, 3, time);
      expect(pairs.of(one, 2, time)).toBe(2);
    }
    // Nothing comes for a while: now it may go elsewhere without overtaking itself.
    time[0] += 100;
    pairs.sent(one, 3, time);
    expect(pairs.of(one, 2, time)).toBe(3);
  });

  test('more flows than there are places: each stays on one pair', () => {
    const pairs = make();
    const flows = Array.from({ length: 5000 }, (_, port) => udp(A, B, [5000, 1 + port]));
    const first = flows.map((each, index) => {
      pairs.sent(each, index % 4, time);
      return pairs.of(each, 7, time);
    });
    expect(first.filter((pair, index) => pair === index % 4).length).toBeGreaterThan(900);
    time[0] += 100;
    expect(flows.map((each) => pairs.of(each, 7, time))).toEqual(first);
    // Places of flows that sent nothing more are there for others.
    time[0] += 3000;
    const other = udp(B, A, [7, 9]);
    pairs.sent(other, 2, time);
    expect(pairs.of(other, 7, time)).toBe(2);
  });

  test('a flow that had no place does not change pairs at once when it gets one', () => {
    const pairs = make();
    // Of one set: the upper bits say it.
    const [one, ...others] = [0, 1, 2, 3, 4].map((low) => (0x5a << 24) | (low + 1));
    for (const each of others) pairs.of(each, 1, time);
    expect(pairs.of(one, 1, time)).toBe(1);
    time[0] += 2999;
    expect(pairs.of(one, 1, time)).toBe(1);
    time[0] += 1;
    // The others' places are free now.
    pairs.sent(one, 3, time);
    expect(pairs.of(one, 1, time)).toBe(1);
    time[0] += 100;
    pairs.sent(one, 3, time);
    expect(pairs.of(one, 1, time)).toBe(3);
  });
});
