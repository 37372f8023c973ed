/** Ranked case 22: a receiver that takes nothing. What exceeds its backlog is dropped; the sender's other datagrams lose nothing. */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { A, B, C, udpFrame } from '../support/traffic.ts';

const fixture = useFixture(BOTH_FORMATS);

const numbered = (number: number) => udpFrame(C, B.ip, Buffer.from(`${number}`));

describe.each(FORMATS)('a receiver stalls: $format', ({ packed }) => {
  test('b sends to a, who takes nothing, and to c, who gets everything', async () => {
    const a = await fixture().attacker({ packed, receiveBuffers: 8 });
    const { b, c, flow, daemon } = fixture();
    const before = (await daemon.vm('b')).drops.inputFull;
    const count = 1200;
    const arrived = new Set<number>();
    for (let i = 0; i < count; i++) {
      await b.send(udpFrame(B, A.ip, Buffer.from(`stalled ${i}`)));
      if (i % 4 === 0) await b.send(udpFrame(B, C.ip, Buffer.from(`${i}`)));
      if (i % 100 === 0) await flow.advance(1);
    }
    for (let i = 0; i < count; i += 4) {
      arrived.add(Number(parse((await flow.other(c)).frame).udp!.payload.toString()));
    }
    expect(arrived.size).toBe(count / 4);
    expect(a.receiveQueue().usedCount).toBe(8);
    await b.untilSent();
    const { drops } = await daemon.vm('b');
    const held = count - 8 - (drops.inputFull - before);
    expect(held, 'held in the backlog').toBeGreaterThanOrEqual(0);
    expect(held, 'the backlog is bounded').toBeLessThan(count / 2);
    // it wakes up: what waited arrives in order, and then the next
    const mutable = a.options as { receiveBuffers: number };
    mutable.receiveBuffers = 128;
    for (let i = 0; i < 8 + held; i++) {
      const text = parse((await a.receive()).frame).udp!.payload.toString();
      expect(text).toBe(`stalled ${i}`);
    }
    await b.send(udpFrame(B, A.ip, Buffer.from('awake')));
    expect(parse((await a.receive()).frame).udp!.payload.toString()).toBe('awake');
  });

  test('a flood for b that b can’t take takes nothing from c', async () => {
    const a = await fixture().attacker({ packed });
    const { b, c, flow, daemon } = fixture();
    const lost = async (name: string) => (await daemon.vm(name)).drops.inputFull;
    const before = { a: await lost('a'), c: await lost('c') };
    const flood = udpFrame(A, B.ip, Buffer.alloc(100, 1));
    const count = 20;
    const end = performance.now() + 10_000;
    // Without a pause, so that nobody looks after b's buffers meanwhile.
    let sent = 0;
    for (let flooded = 0; flooded < 2000 && performance.now() < end; ) {
      if (a.trySend(flood)) flooded++;
      if (flooded >= 1000 + 40 * sent && sent < count && c.trySend(numbered(sent))) sent++;
    }
    expect(sent).toBe(count);
    const arrived: string[] = [];
    while (arrived.length < count) {
      const { udp, ip } = parse((await flow.other(b)).frame);
      if (ip!.source === C.ip) arrived.push(udp!.payload.toString());
    }
    expect(arrived).toEqual(Array.from({ length: count }, (_, index) => `${index}`));
    await a.untilSent();
    expect(await lost('a'), 'it was more than b could take').toBeGreaterThan(before.a);
    expect(await lost('c')).toBe(before.c);
    await a.send(udpFrame(A, B.ip, Buffer.from('the last')));
    for (let text = ''; text !== 'the last'; ) {
      text = parse((await flow.other(b)).frame).udp!.payload.toString();
    }
  });

  test('a receiver without any buffers, and one that never kicks', async () => {
    const a = await fixture().attacker({ packed, receiveBuffers: 0 });
    const { b, flow, daemon } = fixture();
    const before = (await daemon.vm('b')).drops.inputFull;
    const frame = udpFrame(B, A.ip, Buffer.alloc(1400));
    for (let i = 0; i < 800; i++) await b.send(frame);
    await flow.advance();
    await b.untilSent();
    expect(a.receiveQueue().usedCount).toBe(0);
    const held = 800 - ((await daemon.vm('b')).drops.inputFull - before);
    expect(held * frame.length, 'bounded in bytes, too').toBeLessThanOrEqual(512 * 1024);
    expect(held).toBeGreaterThan(300);
  });
});
