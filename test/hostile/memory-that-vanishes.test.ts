/**
 * Ranked case 1, without shrinking anything: holes are punched into sealed memory while datagrams flow, and memory whose file system has no room
 * for its pages. Zeros are read, or the port is closed; nobody else notices.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmdirSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import type { Vm } from '../support/vm.ts';

const MEBIBYTE = 1 << 20;
const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('memory vanishes: $format', ({ packed }) => {
  /** What a driver's reset does; then a datagram arrives behind all that was sent before. */
  async function beginAgain(a: Vm, marker: string): Promise<void> {
    const { b, flow } = fixture();
    for (const index of [0, 1]) await a.stopRing(index);
    for (const queue of a.queues) queue.reset();
    a.fillReceive();
    for (const index of [0, 1]) await a.startRing(index);
    await a.send(udpFrame(A, B.ip, Buffer.from(marker)));
    for (;;) {
      const { udp } = parse((await flow.other(b)).frame);
      if (udp?.payload.toString() === marker) break;
    }
    a.pollReceived();
    a.received.length = 0;
  }

  test('holes are punched into rings and buffers under load', async () => {
    const a = await fixture().attacker({ packed });
    await fixture().goodPasses(a);
    const { daemon, flow, b } = fixture();
    const faults = await daemon.count('a', 'memoryFaults');
    const { descriptor, mapOffset, length } = a.memory.regions[1];
    const file = `/proc/${process.pid}/fd/${descriptor}`;
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 40; i++) {
        a.trySend(udpFrame(A, B.ip, Buffer.from('through holes')));
        b.trySend(udpFrame(B, A.ip, Buffer.from('into holes')));
      }
      execFileSync('fallocate', ['-p', '-o', `${mapOffset}`, '-l', `${length}`, file]);
      a.transmitQueue().kick();
      await flow.advance(2);
      await beginAgain(a, `marker ${round}`);
    }
    await fixture().goodPasses(a);
    expect(await daemon.count('a', 'memoryFaults')).toBe(faults);
    expect(a.frontEnd.closed).toBe(false);
  });

  test.skipIf(process.getuid!() !== 0)(
    'an input buffer in a file that has no room for it (needs root for a tmpfs)',
    async () => {
      const a = await fixture().attacker({ packed, receiveBuffers: 0 });
      const { daemon, b } = fixture();
      const before = await daemon.count('a', 'memoryFaults');
      const folder = mkdtempSync(join(tmpdir(), 'basewire-no-room-'));
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', folder]);
      const opened: number[] = [];
      try {
        const memory = openSync(join(folder, 'memory'), 'w+');
        const filler = openSync(join(folder, 'filler'), 'w');
        opened.push(memory, filler);
        ftruncateSync(memory, MEBIBYTE);
        expect(() => {
          for (;;) writeSync(filler, Buffer.alloc(4096));
        }).toThrow(/ENOSPC/);
        const region = {
          descriptor: memory,
          guestAddress: 0x1_0000_0000n,
          size: BigInt(MEBIBYTE),
          userAddress: 0x7e00_0000_0000n,
          mapOffset: 0n,
        };
        expect(await a.frontEnd.addRegion(region)).toBe(0n);
        const queue = a.receiveQueue();
        const chain = queue.add([{ room: 2000 }])!;
        queue.rewrite(chain, 0, { address: 0x1_0000_0000n + 65536n });
        queue.publish();
        await b.send(udpFrame(B, A.ip, Buffer.from('no room')));
        await a.frontEnd.untilClosed();
        await daemon.untilCount('a', 'memoryFaults', before + 1);
        await daemon.untilState('a', 'waiting');
        a.close();
        await fixture().goodPasses(await fixture().attacker({ packed }));
      } finally {
        for (const fd of opened) closeSync(fd);
        execFileSync('umount', ['-l', folder]);
        rmdirSync(folder);
      }
    },
  );
});
