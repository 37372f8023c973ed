/** Ranked cases 21 and 26: floods of broadcasts, ARP, echo requests, kicks and tiny descriptors. Limited and counted; the victims lose nothing. */
import { describe, expect, test } from 'vitest';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import {
  arp,
  BROADCAST,
  ETHERTYPE,
  ethernet,
  ipv4,
  PROTOCOL,
  parse,
  udp,
} from '../support/packets.ts';
import { A, B, echoFrame, type Host, udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';

const COUNT = 4000;

const fixture = useFixture(BOTH_FORMATS);

describe('storms', () => {
  async function flood(a: Vm, frame: Buffer, count = COUNT): Promise<void> {
    for (let i = 0; i < count; ) {
      if (a.trySend(frame, { publish: i % 8 === 7 })) i++;
      else {
        a.transmitQueue().publish();
        await pause();
      }
      if (i % 256 === 0) {
        await pause();
        a.pollReceived();
      }
    }
    a.transmitQueue().publish();
    await a.untilSent();
  }

  /** Takes what came besides the flow, up to an honest datagram that is sent now. */
  async function beforeMarker(a: Vm): Promise<number> {
    await a.send(udpFrame(A, B.ip, Buffer.from('the marker')));
    for (let count = 0; ; count++) {
      const { frame } = await fixture().flow.other(fixture().b);
      if (parse(frame).udp?.payload.toString() === 'the marker') return count;
    }
  }

  async function drops(): Promise<Record<string, number>> {
    return (await fixture().daemon.vm('a')).drops;
  }

  test('broadcasts', async () => {
    const a = await fixture().attacker();
    const before = (await drops()).broadcastLimited;
    const fields = { source: A.ip, destination: '10.77.0.255' };
    const frame = ethernet(
      { source: A.mac, destination: BROADCAST, type: ETHERTYPE.ipv4 },
      ipv4(
        { ...fields, protocol: PROTOCOL.udp },
        udp({ ...fields, sourcePort: 1, destinationPort: 9 }, Buffer.alloc(20)),
      ),
    );
    await flood(a, frame);
    const limited = (await drops()).broadcastLimited - before;
    expect(limited).toBeGreaterThan(0);
    expect(await beforeMarker(a)).toBeLessThanOrEqual(COUNT - limited);
    fixture().flow.others(fixture().c).length = 0; // c got the same
    await fixture().flow.advance();
    fixture().flow.others(fixture().c).length = 0;
  });

  test('ARP requests for the base', async () => {
    const a = await fixture().attacker();
    const before = (await drops()).arpLimited;
    const request = arp({ operation: 1, senderMac: A.mac, senderIp: A.ip, targetIp: BASE_IP });
    await flood(
      a,
      ethernet({ source: A.mac, destination: BROADCAST, type: ETHERTYPE.arp }, request),
    );
    expect((await drops()).arpLimited - before).toBeGreaterThan(0);
    await fixture().goodPasses(a);
  });

  test('echo requests to the base', async () => {
    const a = await fixture().attacker();
    const input = (await fixture().daemon.vm('a')).input.datagrams;
    await flood(a, echoFrame(A, BASE_IP));
    // a generous limit (ping -f works); never more answers than questions
    expect((await fixture().daemon.vm('a')).input.datagrams - input).toBeLessThanOrEqual(COUNT);
    await fixture().goodPasses(a);
  });

  test('datagrams that ask for ICMP errors', async () => {
    const a = await fixture().attacker();
    const input = (await fixture().daemon.vm('a')).input.datagrams;
    const start = performance.now();
    await flood(a, udpFrame(A, '192.0.2.1', Buffer.alloc(30)));
    const answers = (await fixture().daemon.vm('a')).input.datagrams - input;
    // 50 at once and 100 a second, and what its own machine's ARP entry may need.
    expect(answers).toBeLessThanOrEqual(52 + (performance.now() - start) / 10);
    expect(answers).toBeGreaterThan(0);
    await fixture().goodPasses(a);
  });

  test('whose share is used up is the flooder’s own', async () => {
    const a = await fixture().attacker();
    const { b, c, flow } = fixture();
    const arpFor = (host: Host) =>
      ethernet(
        { source: host.mac, destination: BROADCAST, type: ETHERTYPE.arp },
        arp({ operation: 1, senderMac: host.mac, senderIp: host.ip, targetIp: BASE_IP }),
      );
    const broadcastFrom = (host: Host) => {
      const fields = { source: host.ip, destination: '10.77.0.255' };
      const datagram = udp({ ...fields, sourcePort: 1, destinationPort: 9 }, Buffer.alloc(20));
      return ethernet(
        { source: host.mac, destination: BROADCAST, type: ETHERTYPE.ipv4 },
        ipv4({ ...fields, protocol: PROTOCOL.udp }, datagram),
      );
    };
    const noRouteFrom = (host: Host) => udpFrame(host, '192.0.2.1', Buffer.alloc(30));

    await flood(a, noRouteFrom(A));
    await b.send(noRouteFrom(B));
    expect(parse((await flow.other(b)).frame).icmp).toMatchObject({ type: 3 });

    await flood(a, arpFor(A));
    await b.send(arpFor(B));
    expect(parse((await flow.other(b)).frame).arp).toMatchObject({ operation: 2 });

    await flood(a, broadcastFrom(A));
    await b.send(broadcastFrom(B));
    for (;;) {
      if (parse((await flow.other(c)).frame).ip?.source === B.ip) break;
    }
    await flow.advance();
    flow.others(b).length = 0; // the flood's
  });

  test('source and destination the same, to itself', async () => {
    const a = await fixture().attacker();
    await flood(a, udpFrame(A, A.ip, Buffer.alloc(30)), 1000);
    await flood(
      a,
      ethernet(
        { source: A.mac, destination: BASE_MAC, type: ETHERTYPE.ipv4 },
        ipv4({ source: A.ip, destination: A.ip, protocol: 6 }, Buffer.alloc(20)),
      ),
      1000,
    );
    await fixture().goodPasses(a);
  });

  for (const { format, packed } of FORMATS) {
    test(`kicks without anything behind them: ${format}`, async () => {
      const a = await fixture().attacker({ packed });
      for (let i = 0; i < 50; i++) {
        for (let k = 0; k < 400; k++) {
          a.transmitQueue().kick();
          a.receiveQueue().kick();
        }
        await pause();
      }
      await fixture().goodPasses(a);
    });

    test(`chains of two hundred descriptors of one byte: ${format}`, async () => {
      const a = await fixture().attacker({ packed });
      const layout = [...Array<number>(200).fill(1), 4000];
      const frame = udpFrame(A, B.ip, Buffer.alloc(300));
      let arrived = 0;
      for (let i = 0; i < 300; i++) {
        await a.send(frame, { layout });
        if (i % 10 === 9) await fixture().flow.advance(1);
      }
      arrived = await beforeMarker(a);
      expect(arrived).toBe(300);
    });
  }

  test('datagrams longer than the MTU without segmentation are refused, with an ICMP error', async () => {
    const a = await fixture().attacker({ transmitBytes: 4096 });
    const before = (await drops()).tooBig;
    const big = udpFrame(A, B.ip, Buffer.alloc(3000));
    await a.send(big);
    const error = parse((await a.receive()).frame);
    expect(error).toMatchObject({ problems: [], icmp: { type: 3, code: 4 } });
    expect(error.icmp!.rest & 0xffff, 'the MTU to use').toBe(1500);
    await fixture().daemon.untilCount('a', 'tooBig', before + 1);
    await flood(a, big, 500);
    await fixture().goodPasses(a);
  });
});
