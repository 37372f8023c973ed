/**
 * What an adapter does on a real interface, scenario by scenario. Run as a program in a network namespace of its own, it plays
 * them all and prints a line of JSON for each.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CELL } from '../../../src/counters.ts';
import { native } from '../../../src/native.ts';
import { HELD } from '../../../src/routing/verdict.ts';
import { isUp } from '../../../src/adapter/rtnetlink.ts';
import { BASE as BASE_SENDER } from '../../../src/storage/outbox.ts';
import { macText } from '../../../src/wire/mac.ts';
import { GSO, HDR_FLAG, type NetHeader, PLAIN } from '../../support/net-header.ts';
import { setFeature } from '../../support/interface-feature.ts';
import { BROADCAST, ethernet, icmp, ipv4, PROTOCOL, tcp, udp } from '../../support/packets.ts';
import { until } from '../../support/until.ts';
import { payload } from './sequence-sender.ts';
import {
  ADAPTER_PORT,
  arpFrame,
  BASE,
  Bench,
  type BenchOptions,
  ip,
  NEIGHBOUR,
  NEIGHBOUR_MAC,
  plug,
  tc,
  unplug,
  VM,
  VM_PORT,
} from './bench.ts';

const LONG = process.env.BASEWIRE_LONG === '1';

const ANY_MAC = '02:00:00:00:99:99';
const OTHER_MAC = '02:00:00:00:77:77';

function datagram(
  size: number,
  source = VM,
  destination = NEIGHBOUR,
  destinationMac = ANY_MAC,
): Buffer {
  const payload = Buffer.alloc(size);
  for (let i = 0; i < size; i++) payload[i] = i * 7;
  const ports = { source, destination, sourcePort: 1000, destinationPort: 2000 };
  const packet = ipv4({ source, destination, protocol: PROTOCOL.udp }, udp(ports, payload));
  return ethernet({ source: ANY_MAC, destination: destinationMac, type: 0x0800 }, packet);
}

/** A TCP datagram that is to be segmented. */
function large(size: number, source: string, destination: string, destinationMac = ANY_MAC) {
  const payload = Buffer.alloc(size, 'segment me ');
  const ports = { source, destination, sourcePort: 1, destinationPort: 2 };
  const segment = tcp({ ...ports, checksum: 'partial' }, payload);
  const bytes = ethernet(
    { source: ANY_MAC, destination: destinationMac, type: 0x0800 },
    ipv4({ source, destination, protocol: PROTOCOL.tcp }, segment),
  );
  const header = {
    flags: HDR_FLAG.needsCsum,
    gsoType: GSO.tcpv4,
    headerLength: 54,
    gsoSize: 1448,
    checksumStart: 34,
    checksumOffset: 16,
  };
  return { bytes, header };
}

type Scenario = (bench: Bench) => Promise<void>;

/** The interface carries 100 megabits a second; what it has taken and not sent yet waits in the kernel, up to the socket's bound. */
const slow = (): void =>
  tc(...'qdisc add dev bw0 root tbf rate 100mbit burst 100kb limit 8mb'.split(' '));

export const scenarios: Record<string, { options?: BenchOptions; run: Scenario }> = {
  'announces its addresses when it opens': {
    async run(bench) {
      assert.equal(bench.send([datagram(100)])[0], CELL.adapterClosed);
      await bench.open();
      const { mac } = native.interfaceInfo('bw0');
      for (const address of [VM, BASE]) {
        const { parsed } = await bench.lan.until(
          `an announcement of ${address}`,
          ({ parsed }) => parsed.arp?.senderIp === address && parsed.arp.targetIp === address,
        );
        assert.equal(parsed.destination, BROADCAST);
        assert.equal(parsed.arp!.senderMac, macText(mac));
        assert.equal(parsed.arp!.operation, 1);
      }
      assert.deepEqual(bench.adapter.detail(), {
        state: 'open',
        mac: macText(mac),
        mtu: 1500,
        neighbours: 0,
        reason: '',
      });
      bench.adapter.close('enough');
      assert.equal(bench.adapter.state, 'closed');
      assert.equal(bench.send([datagram(100)])[0], CELL.adapterClosed);
      await bench.open();
    },
  },

  'sends a datagram to a neighbour it asked for, byte by byte': {
    async run(bench) {
      await bench.open();
      const frame = datagram(700);
      assert.deepEqual(bench.send([frame]), [HELD]);
      assert.equal(bench.counters.get(VM_PORT, 'waiting'), 1);
      const asked = await bench.lan.until(
        'a question',
        ({ parsed }) => parsed.arp?.targetIp === NEIGHBOUR,
      );
      assert.equal(asked.parsed.arp!.senderIp, BASE);
      assert.equal(asked.parsed.destination, BROADCAST);
      bench.lan.answer();
      const isFrame = (seen: { bytes: Buffer }) =>
        seen.bytes.subarray(12).equals(frame.subarray(12));
      const first = await bench.lan.until('the datagram that waited', isFrame);
      assert.equal(first.parsed.destination, NEIGHBOUR_MAC);
      assert.equal(first.parsed.source, macText(bench.adapter.mac));
      assert.deepEqual(first.parsed.problems, []);
      assert.equal(bench.counters.get(VM_PORT, 'waiting'), 0);
      bench.lan.seen.length = 0;
      assert.deepEqual(bench.send([frame, frame]), [0, 0]);
      await bench.lan.until('two more', () => bench.lan.seen.filter(isFrame).length === 2);
      assert.equal(bench.adapter.detail().neighbours, 1);
    },
  },

  'takes datagrams in, byte by byte': {
    async run(bench) {
      await bench.open();
      const mac = macText(bench.adapter.mac);
      const frames = [0, 1, 17, 700, 1472].map((size) => datagram(size, NEIGHBOUR, VM, mac));
      bench.lan.send(frames);
      // Not for us: neither counted nor seen.
      bench.lan.send([datagram(5, NEIGHBOUR, VM, OTHER_MAC)]);
      bench.lan.send([datagram(33, NEIGHBOUR, VM, mac)]);
      await bench.until('all of them', () => bench.received.length >= 6);
      const bytes = frames.reduce((sum, { length }) => sum + length, 0) + 14 + 28 + 33;
      assert.equal(bench.counters.get(ADAPTER_PORT, 'receivedDatagrams'), 6);
      assert.equal(bench.counters.get(ADAPTER_PORT, 'receivedBytes'), bytes);
      for (const [index, frame] of frames.entries()) {
        assert.ok(bench.received[index].bytes.equals(frame), `frame ${index}`);
        assert.deepEqual(bench.received[index].header, PLAIN);
      }
    },
  },

  'answers ARP for listed addresses only, and is not poisoned': {
    async run(bench) {
      await bench.open();
      bench.lan.seen.length = 0;
      for (const target of [VM, BASE]) {
        bench.lan.send([arpFrame(1, NEIGHBOUR_MAC, NEIGHBOUR, '', target)]);
        const { parsed } = await bench.lan.until(
          `an answer for ${target}`,
          ({ parsed }) => parsed.arp?.operation === 2 && parsed.arp.senderIp === target,
        );
        assert.equal(parsed.destination, NEIGHBOUR_MAC);
        assert.equal(parsed.arp!.targetMac, NEIGHBOUR_MAC);
        assert.equal(parsed.arp!.senderMac, macText(bench.adapter.mac));
      }
      // A probe for an address of ours gets an answer, too: it is not free.
      bench.lan.send([arpFrame(1, NEIGHBOUR_MAC, '0.0.0.0', '', VM)]);
      await bench.lan.until(
        'an answer to the probe',
        ({ parsed }) => parsed.arp?.targetIp === '0.0.0.0',
      );
      const cell = (name: keyof typeof CELL) => bench.counters.get(ADAPTER_PORT, name);
      const count = bench.lan.seen.length;
      bench.lan.send([
        arpFrame(1, NEIGHBOUR_MAC, NEIGHBOUR, '', '10.77.0.99'), // for somebody else
        arpFrame(1, NEIGHBOUR_MAC, VM, '', '10.77.0.99'), // claims our VM's address
        arpFrame(2, NEIGHBOUR_MAC, BASE, macText(bench.adapter.mac), BASE),
        arpFrame(2, BROADCAST, NEIGHBOUR, macText(bench.adapter.mac), BASE),
      ]);
      await bench.until('all looked at', () => cell('receivedDatagrams') === 7);
      assert.equal(bench.adapter.detail().neighbours, 0, 'nobody was learned');
      // The claim is answered by an announcement.
      await bench.lan.until(
        'a defence',
        ({ parsed }) => parsed.arp?.senderIp === VM && parsed.arp.targetIp === VM,
      );
      const answers = bench.lan.seen
        .slice(count)
        .filter(({ parsed }) => parsed.arp?.operation === 2);
      assert.equal(answers.length, 0);
    },
  },

  'gives up on a neighbour that does not answer': {
    async run(bench) {
      await bench.open();
      const frames = Array.from({ length: 164 }, () => datagram(10));
      const results = bench.send(frames);
      assert.equal(results.filter((result) => result === HELD).length, 160);
      assert.equal(results.filter((result) => result === CELL.neighbourUnresolved).length, 4);
      const questions = () =>
        bench.lan.seen.filter(({ parsed }) => parsed.arp?.targetIp === NEIGHBOUR).length;
      for (let tries = 1; tries <= 3; tries++) {
        await bench.lan.until(`question ${tries}`, () => questions() === tries);
        bench.skew += 1000;
      }
      await bench.until('nothing waits', () => bench.counters.get(VM_PORT, 'waiting') === 0);
      assert.equal(bench.counters.get(VM_PORT, 'neighbourUnresolved'), 160);
      assert.deepEqual(bench.send([frames[0]]), [CELL.neighbourUnresolved]);
      bench.skew += 3000;
      bench.turn();
      assert.deepEqual(bench.send([frames[0]]), [HELD]);
      assert.equal(questions(), 3);
    },
  },

  'asks a neighbour in use again before it is forgotten': {
    async run(bench) {
      await bench.open();
      const frame = datagram(10);
      await bench.meet(frame);
      assert.deepEqual(bench.send([frame]), [0]);
      bench.skew += 60_000;
      const { parsed } = await bench.lan.until(
        'a question',
        ({ parsed }) => parsed.arp !== undefined,
      );
      assert.equal(parsed.destination, NEIGHBOUR_MAC, 'only the neighbour is asked');
      assert.deepEqual(bench.send([frame]), [0], 'and used meanwhile');
      const moved = '02:00:00:00:02:01';
      ip('link', 'set', 'bw1', 'address', moved);
      bench.lan.answer(moved);
      await bench.lan.until('the new MAC in use', () => {
        bench.send([frame]);
        return bench.lan.seen.some((seen) => seen.parsed.destination === moved);
      });
      // Not used any more, and forgotten.
      await bench.until('it is forgotten', () => {
        bench.skew += 61_000;
        return bench.adapter.detail().neighbours === 0;
      });
    },
  },

  'follows its interface down and up': {
    async run(bench) {
      await bench.open();
      const frame = datagram(10);
      await bench.meet(frame);
      for (const side of ['bw1', 'bw0']) {
        ip('link', 'set', side, 'down');
        await bench.until(`down with ${side}`, () => bench.adapter.state === 'down');
        assert.deepEqual(bench.send([frame]), [CELL.adapterDown]);
        assert.equal(bench.adapter.needsKick, false);
        // The socket's error is taken: nothing keeps waking the base.
        await bench.until('quiet', () => bench.quiet());
        bench.lan.seen.length = 0;
        ip('link', 'set', side, 'up');
        await bench.until(`up with ${side}`, () => bench.adapter.state === 'open');
        await bench.lan.until('announced again', ({ parsed }) => parsed.arp?.targetIp === VM);
        await bench.meet(frame);
      }
      const mac = macText(bench.adapter.mac);
      bench.lan.send([datagram(50, NEIGHBOUR, VM, mac)]);
      await bench.until('the same socket receives', () => bench.received.length === 1);
      await bench.until('asleep', () => {
        bench.turn();
        return bench.adapter.fallAsleep();
      });
      bench.lan.send([datagram(60, NEIGHBOUR, VM, mac)]);
      bench.woken('and wakes');
    },
  },

  'forgets what waited to leave when its interface goes down': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      slow();
      const { bytes, header } = large(60_000, VM, NEIGHBOUR);
      bench.send(
        Array.from({ length: 20 }, () => bytes),
        NEIGHBOUR,
        header,
      );
      assert.equal(bench.adapter.needsKick, true);
      ip('link', 'set', 'bw0', 'down');
      await bench.until('down', () => bench.adapter.state === 'down');
      assert.equal(bench.adapter.needsKick, false);
      await bench.until('quiet', () => bench.quiet());
      bench.lan.poll();
      bench.lan.seen.length = 0;
      ip('link', 'set', 'bw0', 'up');
      await bench.until('up', () => bench.adapter.state === 'open');
      await bench.meet(datagram(10));
      assert.ok(!bench.lan.seen.some(({ parsed }) => parsed.tcp), 'what is of yesterday');
    },
  },

  'waits for a deleted interface to come back': {
    async run(bench) {
      await bench.open();
      assert.deepEqual(bench.send([datagram(10)]), [HELD]);
      const descriptors = bench.adapter.detail();
      ip('link', 'del', 'bw0');
      await bench.until('gone', () => bench.adapter.state === 'gone');
      assert.deepEqual(bench.send([datagram(10)]), [CELL.adapterGone]);
      assert.equal(bench.counters.get(VM_PORT, 'waiting'), 0);
      // The carrier goes first: what waited was dropped then.
      const dropped =
        bench.counters.get(VM_PORT, 'adapterGone') + bench.counters.get(VM_PORT, 'adapterDown');
      assert.equal(dropped, 1);
      ip('link', 'add', 'bw0', 'type', 'veth', 'peer', 'name', 'bw1');
      await bench.until('found again, down', () => bench.adapter.state === 'down');
      ip('link', 'set', 'bw1', 'up');
      ip('link', 'set', 'bw0', 'up');
      await bench.until('open again', () => bench.adapter.state === 'open');
      assert.notEqual(bench.adapter.detail().mac, descriptors.mac);
      assert.deepEqual(bench.send([datagram(10)]), [HELD]);
      // Closed, it stays closed.
      bench.adapter.close('enough');
      ip('link', 'del', 'bw0');
      ip('link', 'add', 'bw0', 'type', 'veth', 'peer', 'name', 'bw1');
      for (let round = 0; round < 20; round++) bench.turn();
      assert.equal(bench.adapter.state, 'closed');
    },
  },

  'takes a renamed interface for gone': {
    async run(bench) {
      await bench.open();
      ip('link', 'set', 'bw0', 'name', 'elsewhere');
      await bench.until('gone', () => bench.adapter.state === 'gone');
      assert.match(bench.adapter.reason, /renamed to elsewhere/);
      ip('link', 'set', 'elsewhere', 'name', 'bw0');
      await bench.until('open again', () => bench.adapter.state === 'open');
    },
  },

  'knows its interface by an alternative name': {
    async run(bench) {
      ip('link', 'set', 'bw0', 'name', 'elsewhere');
      ip('link', 'property', 'add', 'dev', 'elsewhere', 'altname', 'bw0');
      await bench.open();
      // Any change of the interface is told under its own name.
      ip('link', 'set', 'elsewhere', 'mtu', '1400');
      await bench.until('the new MTU', () => bench.adapter.mtu === 1400);
      assert.equal(bench.adapter.state, 'open');
      ip('link', 'property', 'del', 'dev', 'elsewhere', 'altname', 'bw0');
      await bench.until('gone', () => bench.adapter.state === 'gone');
      ip('link', 'property', 'add', 'dev', 'elsewhere', 'altname', 'bw0');
      await bench.until('open again', () => bench.adapter.state === 'open');
    },
  },

  'believes nothing older when messages of the kernel were lost': {
    async run(bench) {
      ip('link', 'add', 'hidden', 'type', 'veth', 'peer', 'name', 'bw2');
      await bench.open();
      for (let round = 0; round < 20; round++) bench.turn();
      // More than one look takes, then ours, then more than the socket holds, then ours again.
      const others = (count: number) => {
        const line = (index: number) => `link set hidden mtu ${1000 + (index % 2)}`;
        execFileSync('ip', ['-batch', '-'], {
          input: Array.from({ length: count }, (_, index) => line(index)).join('\n'),
        });
      };
      others(68);
      ip('link', 'set', 'bw0', 'mtu', '1400');
      others(300);
      ip('link', 'set', 'bw0', 'mtu', '1300');
      for (let round = 0; round < 50; round++) bench.turn();
      assert.equal(bench.adapter.mtu, 1300);
    },
  },

  'follows MTU and MAC': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      assert.deepEqual(bench.send([datagram(1472), datagram(1473)]), [0, CELL.tooBig]);
      ip('link', 'set', 'bw0', 'mtu', '1280');
      await bench.until('the new MTU', () => bench.adapter.mtu === 1280);
      assert.deepEqual(bench.send([datagram(1252), datagram(1253)]), [0, CELL.tooBig]);
      ip('link', 'set', 'bw0', 'address', '02:00:00:00:55:55');
      await bench.until('the new MAC', () => bench.adapter.detail().mac === '02:00:00:00:55:55');
      bench.lan.seen.length = 0;
      assert.deepEqual(bench.send([datagram(10)]), [0]);
      await bench.lan.until(
        'the new source',
        ({ parsed }) => parsed.source === '02:00:00:00:55:55',
      );
    },
  },

  'passes segmentation and checksum work through, both ways': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      const out = large(60_000, VM, NEIGHBOUR);
      assert.deepEqual(bench.send([out.bytes], NEIGHBOUR, out.header), [0]);
      const seen = await bench.lan.until('it on the LAN', ({ bytes }) => bytes.length > 1514);
      assert.deepEqual(seen.bytes.subarray(12), out.bytes.subarray(12));
      assert.deepEqual(seen.header, { ...PLAIN, ...out.header });
      const segments = { ...out.header, gsoSize: 1461 };
      assert.deepEqual(bench.send([out.bytes], NEIGHBOUR, segments), [CELL.tooBig]);

      const mac = macText(bench.adapter.mac);
      const back = large(30_000, NEIGHBOUR, VM, mac);
      bench.lan.send([back.bytes], back.header);
      await bench.until('it in base storage', () => bench.received.length === 1);
      assert.deepEqual(bench.received[0].bytes, back.bytes);
      assert.deepEqual(bench.received[0].header, { ...PLAIN, ...back.header });
    },
  },

  'drops what carries a VLAN tag': {
    async run(bench) {
      await bench.open();
      const mac = macText(bench.adapter.mac);
      const plain = datagram(100, NEIGHBOUR, VM, mac);
      const tagged = (tag: number) =>
        Buffer.concat([
          plain.subarray(0, 12),
          Buffer.from([0x81, 0, tag >> 8, tag]),
          plain.subarray(12),
        ]);
      bench.lan.send([tagged(7), tagged(0xe000), plain]);
      await bench.until('two of three', () => bench.received.length === 2);
      assert.ok(bench.received[0].bytes.equals(plain), 'the priority tag of no VLAN is taken off');
      assert.deepEqual(bench.received[1].bytes, plain);
      assert.equal(bench.counters.get(ADAPTER_PORT, 'vlan'), 1);
      assert.equal(bench.counters.get(ADAPTER_PORT, 'receivedDatagrams'), 3);
    },
  },

  'sends in the midst of a turn what its ring has no room for': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      const frames = Array.from({ length: 100 }, (_, index) => datagram(100 + index));
      const sent = bench.counters.get(ADAPTER_PORT, 'sentDatagrams');
      for (let round = 1; round <= 10; round++) {
        assert.deepEqual(new Set(bench.send(frames)), new Set([0]));
        await bench.until('an empty ring', () => !bench.adapter.needsKick);
        bench.lan.poll();
      }
      assert.equal(bench.counters.get(ADAPTER_PORT, 'sentDatagrams') - sent, 1000);
      const ours = () =>
        bench.lan.seen.filter(({ parsed }) => parsed.udp?.destinationPort === 2000);
      await bench.lan.until('all that were taken', () => ours().length === 1000);
    },
  },

  'keeps places for others when one VM sends more than a slow interface carries': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      slow();
      const { bytes, header } = large(60_000, VM, NEIGHBOUR);
      const flood = () => bench.send(Array(20).fill(bytes), NEIGHBOUR, header);
      const other = () => bench.send([datagram(10)], NEIGHBOUR, {}, BASE_SENDER);
      let [taken, others] = [0, 0];
      for (let round = 0; round < 3; round++) {
        taken += flood().filter((result) => result === 0).length;
        assert.deepEqual(other(), [0], 'one of the other');
        others++;
      }
      assert.ok(taken < 60, `${taken} of 60 of the flood`);
      const arrived = (length: number) =>
        bench.lan.seen.filter((one) => (one.parsed.udp?.payload.length ?? 0) === length).length;
      const payload = () =>
        bench.lan.seen.reduce((sum, { parsed }) => sum + (parsed.tcp?.payload.length ?? 0), 0);
      await bench.until('all that were taken', () => {
        bench.lan.poll();
        return arrived(10) === others && payload() === taken * 60_000;
      });
    },
  },

  'is not held up by frames that its interface refuses': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      // The other end takes less: veth throws longer frames away and reports congestion for each.
      ip('link', 'set', 'bw1', 'mtu', '576');
      const frames = Array.from({ length: 30 }, (_, index) => datagram(index % 2 ? 100 : 1400));
      assert.deepEqual(new Set(bench.send(frames)), new Set([0]));
      await bench.until('an empty ring', () => !bench.adapter.needsKick);
      await bench.lan.until('the 15 short ones', () => {
        return bench.lan.seen.filter(({ bytes }) => bytes.length === 142).length === 15;
      });
      for (let time = 0; time < 3; time++) {
        bench.skew += 1000;
        bench.turn();
        assert.equal(bench.counters.get(ADAPTER_PORT, 'transmitRefused'), 15);
      }
    },
  },

  'keeps the order of long frames behind those that its interface refuses': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      ip('link', 'set', 'bw1', 'mtu', '576');
      // What is to be segmented goes through, and is told from the others by its length: more than is moved up at once, and than may wait.
      const frames: Buffer[] = [];
      const headers: Partial<NetHeader>[] = [];
      const LONG_ONES = 18;
      for (let index = 0; index < LONG_ONES; index++) {
        const { bytes, header } = large(60_000 + index, VM, NEIGHBOUR);
        if (index % 3 === 0) {
          frames.push(datagram(1400));
          headers.push({});
        }
        frames.push(bytes);
        headers.push(header);
      }
      assert.deepEqual(new Set(bench.send(frames, NEIGHBOUR, headers)), new Set([0]));
      await bench.until('an empty ring', () => !bench.adapter.needsKick);
      await bench.lan.until('the last long one', ({ bytes }) => bytes.length === 60_017 + 54);
      const lengths = bench.lan.seen.map(({ bytes }) => bytes.length - 54);
      assert.deepEqual(
        lengths.filter((length) => length > 576),
        Array.from({ length: LONG_ONES }, (_, index) => 60_000 + index),
      );
      bench.skew += 1000;
      bench.turn();
      assert.equal(bench.counters.get(ADAPTER_PORT, 'transmitRefused'), LONG_ONES / 3);
    },
  },

  'is not told of frames while turns run, and is again before it sleeps': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      const mac = macText(bench.adapter.mac);
      const arrive = () => bench.lan.send([datagram(30, NEIGHBOUR, VM, mac)]);
      const LONG = 5_000_000;
      for (let round = 0; round < 3; round++) {
        bench.adapter.fallAsleep();
        arrive();
        assert.ok(bench.watcher.wait(LONG) > 0, 'little traffic: told');
        for (let turn = 0; turn < 20; turn++) {
          bench.received.length = 0;
          arrive();
          await bench.until('it is here', () => bench.received.length > 0);
        }
        arrive();
        assert.equal(bench.watcher.wait(10_000), 0, 'busy: not told');
        assert.equal(bench.adapter.fallAsleep(), false, 'what came before it looked');
        await bench.until('that is here', () => bench.received.length > 1);
        assert.equal(bench.watcher.wait(0), 0);
      }
      // An interface that goes down meanwhile is noticed all the same.
      for (let turn = 0; turn < 20; turn++) bench.send([datagram(40)]);
      ip('link', 'set', 'bw0', 'down');
      await bench.until('it is down', () => bench.adapter.state === 'down');
    },
  },

  'takes a frame before its block is handed over, and is woken by it': {
    options: { rings: { retireMilliseconds: 60_000 } },
    async run(bench) {
      await bench.open();
      const mac = macText(bench.adapter.mac);
      const frame = (id: number) => datagram(40 + id, NEIGHBOUR, VM, mac);
      // While turns run the frame is found, and wakes nobody.
      bench.lan.send([frame(0)]);
      await bench.until('the first frame', () => bench.received.length === 1);
      assert.equal(bench.watcher.wait(0), 0);
      for (let round = 1; round < 20; round++) {
        assert.equal(bench.adapter.fallAsleep(), true, 'nothing has come');
        assert.equal(bench.watcher.wait(0), 0);
        bench.lan.send([frame(round)]);
        bench.woken('woken');
        assert.equal(bench.watcher.wait(0), 0, 'once');
        bench.turn();
        assert.equal(bench.received.length, round + 1);
      }
      // What came before the bell was set keeps it awake.
      bench.lan.send([frame(20)]);
      assert.equal(bench.adapter.fallAsleep(), false);
      bench.turn();
      assert.ok(
        bench.received.every(({ bytes }, round) => bytes.equals(frame(round))),
        'in order, unchanged',
      );
      assert.equal(bench.received.length, 21);
    },
  },

  'hears nothing of frames for others, and of the host’s where it has a MAC of its own': {
    options: { mac: '02:00:00:00:33:33', rings: { retireMilliseconds: 60_000 } },
    async run(bench) {
      ip('link', 'set', 'bw0', 'promisc', 'on');
      await bench.open();
      const to = (mac: string) => datagram(40, NEIGHBOUR, VM, mac);
      const host = macText(native.interfaceInfo('bw0').mac);
      assert.equal(bench.adapter.fallAsleep(), true);
      bench.lan.send([to(OTHER_MAC), to(host), to('02:00:00:00:33:34'), to('03:00:00:00:33:33')]);
      bench.lan.send([to(BROADCAST)]);
      bench.woken('woken by what goes to all');
      bench.turn();
      assert.deepEqual(
        bench.received.map(({ parsed }) => parsed.destination),
        ['03:00:00:00:33:33', BROADCAST],
      );
      assert.equal(bench.adapter.fallAsleep(), true);
      bench.lan.send([to(OTHER_MAC), to(host)]);
      assert.equal(bench.watcher.wait(20_000), 0, 'nobody is woken');
      bench.lan.send([to('02:00:00:00:33:33')]);
      bench.woken('woken by what is ours');
    },
  },

  'hears nothing of frames for others': {
    options: { rings: { retireMilliseconds: 60_000 } },
    async run(bench) {
      ip('link', 'set', 'bw0', 'promisc', 'on');
      await bench.open();
      const host = macText(native.interfaceInfo('bw0').mac);
      assert.equal(bench.adapter.fallAsleep(), true);
      bench.lan.send([datagram(40, NEIGHBOUR, VM, OTHER_MAC)]);
      assert.equal(bench.watcher.wait(20_000), 0, 'nobody is woken');
      bench.lan.send([datagram(40, NEIGHBOUR, VM, host)]);
      bench.woken('woken by what is ours');
      bench.turn();
      assert.deepEqual(
        bench.received.map(({ parsed }) => parsed.destination),
        [host],
      );
    },
  },

  'reads whole frames while another core is writing there': {
    // All fit, so nothing is lost, and no block but a full one is handed over: the last frames are read ahead or not at all.
    options: { rings: { blocks: 64, retireMilliseconds: LONG ? 1 : 60_000 } },
    async run(bench) {
      ip('addr', 'add', '10.77.0.254/24', 'dev', 'bw1');
      await bench.open();
      const mac = macText(bench.adapter.mac);
      ip('neigh', 'replace', VM, 'lladdr', mac, 'dev', 'bw1', 'nud', 'permanent');
      const count = LONG ? 500_000 : 10_000;
      const program = fileURLToPath(new URL('./sequence-sender.ts', import.meta.url));
      const words = ['--import', 'tsx', program, String(count), VM];
      const sender = spawn(process.execPath, words, { stdio: 'inherit' });
      const ended = new Promise((resolve) => sender.on('close', resolve));
      let next = 0;
      const look = () => {
        for (const { parsed } of bench.received.splice(0)) {
          if (parsed.udp === undefined) continue;
          const got = parsed.udp.payload;
          const number = got.readUInt32LE();
          assert.equal(number, next, 'in order');
          assert.ok(got.equals(payload(number)), `datagram ${number}`);
          next++;
        }
      };
      let over = false;
      void ended.then(() => {
        over = true;
      });
      try {
        // Without a pause, as the worker does.
        for (let turns = 1; !over; turns++) {
          bench.turn();
          look();
          if (turns % 100 === 0) await new Promise(setImmediate);
        }
        assert.equal(await ended, 0);
        await bench.until('the last one', () => {
          look();
          return next === count;
        });
      } finally {
        sender.kill();
      }
    },
  },

  'sleeps until a slow interface has room': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      slow();
      // Busy: the socket is not watched when its room ends.
      for (let turn = 0; turn < 20; turn++) bench.send([datagram(10)]);
      assert.equal(bench.watcher.wait(0), 0);
      const { bytes, header } = large(60_000, VM, NEIGHBOUR);
      const frames = Array.from({ length: 20 }, () => bytes);
      assert.deepEqual(new Set(bench.send(frames, NEIGHBOUR, header)), new Set([0]));
      assert.equal(bench.adapter.needsKick, true);
      // Only the socket wakes us, and not for ever.
      let wakes = 0;
      for (; bench.adapter.needsKick && wakes < 200; wakes++) {
        bench.woken('woken');
        bench.turn();
        bench.lan.poll();
      }
      assert.equal(bench.adapter.needsKick, false);
      const payload = () =>
        bench.lan.seen.reduce((sum, { parsed }) => sum + (parsed.tcp?.payload.length ?? 0), 0);
      await bench.lan.until('every byte', () => payload() === 20 * 60_000);
      assert.equal(bench.watcher.wait(0), 0, 'and no longer');
    },
  },

  'takes a header that the kernel refuses out of the ring': {
    async run(bench) {
      await bench.open();
      await bench.meet(datagram(10));
      const bad = { gsoType: 9, flags: HDR_FLAG.needsCsum, checksumStart: 34, checksumOffset: 6 };
      bench.send([datagram(20)], NEIGHBOUR, bad);
      bench.send([datagram(21)]);
      bench.send([datagram(22)]);
      for (const length of [63, 64]) {
        await bench.lan.until(`the good ${length}`, ({ bytes }) => bytes.length === length);
      }
      assert.ok(!bench.lan.seen.some(({ bytes }) => bytes.length === 62), 'not the refused one');
    },
  },

  'counts what the kernel could not put into the receive ring': {
    options: { rings: { blockBytes: 4096, blocks: 2 } },
    async run(bench) {
      await bench.open();
      const mac = macText(bench.adapter.mac);
      const frame = datagram(400, NEIGHBOUR, VM, mac);
      const frames = Array.from({ length: 30 }, () => frame);
      for (let round = 0; round < 10; round++) {
        bench.lan.send(frames);
        bench.lan.poll();
      }
      const cell = (name: keyof typeof CELL) => bench.counters.get(ADAPTER_PORT, name);
      await bench.until('the sum of both', () => {
        bench.skew += 1000;
        return cell('receivedDatagrams') + cell('receiveOverruns') >= 300;
      });
      assert.ok(cell('receiveOverruns') > 0);
      assert.equal(bench.received.length, cell('receivedDatagrams'));
      assert.ok(
        bench.received.every(({ bytes }) => bytes.equals(frame)),
        'unchanged',
      );
      // A frame that no block holds is cut off by the kernel.
      const long = large(9000, NEIGHBOUR, VM, mac);
      bench.lan.send([long.bytes], long.header);
      await bench.until('it is counted', () => cell('adapterTruncated') === 1);
    },
  },

  'goes on in the middle of a block': {
    async run(bench) {
      await bench.open();
      const mac = macText(bench.adapter.mac);
      const frames = Array.from({ length: 20 }, (_, index) => datagram(index, NEIGHBOUR, VM, mac));
      bench.lan.send(frames);
      await until('all twenty, three at a time', () => {
        const before = bench.received.length;
        bench.turn(3);
        assert.ok(bench.received.length - before <= 3, 'at most three');
        return bench.received.length === 20;
      });
      for (const [index, { bytes }] of bench.received.entries())
        assert.ok(bytes.equals(frames[index]), `frame ${index}`);
    },
  },

  'speaks with a MAC of its own where one is configured': {
    options: { mac: '02:00:00:00:33:33' },
    async run(bench) {
      await bench.open();
      assert.equal(bench.adapter.detail().mac, '02:00:00:00:33:33');
      await bench.meet(datagram(10));
      const { mac } = native.interfaceInfo('bw0');
      bench.lan.send([
        datagram(11, NEIGHBOUR, VM, macText(mac)), // the host's
        datagram(12, NEIGHBOUR, VM, OTHER_MAC),
        datagram(13, NEIGHBOUR, VM, '02:00:00:00:33:33'),
        datagram(14, NEIGHBOUR, VM, BROADCAST),
      ]);
      await bench.until('ours and everybody’s', () => bench.received.length === 2);
      assert.deepEqual(
        bench.received.map(({ bytes }) => bytes.length),
        [55, 56],
      );
      ip('link', 'set', 'bw0', 'address', '02:00:00:00:55:55');
      ip('link', 'set', 'bw0', 'mtu', '1400');
      await bench.until('the new MTU', () => bench.adapter.mtu === 1400);
      assert.equal(bench.adapter.detail().mac, '02:00:00:00:33:33', 'whatever the interface’s is');
    },
  },

  'talks to a host’s own stack': {
    async run(bench) {
      ip('addr', 'add', '10.77.0.254/24', 'dev', 'bw1');
      await bench.open();
      const echo = ipv4(
        { source: VM, destination: '10.77.0.254', protocol: PROTOCOL.icmp },
        icmp({ type: 8, rest: 0x12340001 }, Buffer.from('are you there?')),
      );
      const frame = ethernet({ source: ANY_MAC, destination: ANY_MAC, type: 0x0800 }, echo);
      assert.deepEqual(bench.send([frame], '10.77.0.254'), [HELD]);
      await bench.until('its answer', () =>
        bench.received.some(({ parsed }) => parsed.icmp?.type === 0),
      );
      const { parsed } = bench.received.find(({ parsed }) => parsed.icmp?.type === 0)!;
      assert.equal(parsed.ip!.destination, VM);
      assert.equal(parsed.destination, macText(bench.adapter.mac));
      assert.equal(parsed.icmp!.payload.toString(), 'are you there?');
    },
  },

  'couples datagrams of one UDP flow, and a host gets each': {
    options: { coupleUdp: true },
    async run(bench) {
      const host = '10.77.0.254';
      ip('addr', 'add', `${host}/24`, 'dev', 'bw1');
      const socket = createSocket('udp4');
      const got: Buffer[] = [];
      socket.on('message', (message) => got.push(message));
      await new Promise<void>((resolve) => socket.bind(2000, host, resolve));
      try {
        await bench.open();
        assert.deepEqual(bench.send([datagram(9, VM, host)], host), [HELD]);
        await bench.until('the first', () => got.length === 1);
        bench.lan.poll();
        bench.lan.seen.length = 0;
        const sizes = [...Array<number>(40).fill(200), 50, 200, 200];
        const frames = sizes.map((size) => datagram(size, VM, host));
        const before = bench.counters.get(ADAPTER_PORT, 'sentDatagrams');
        assert.deepEqual(new Set(bench.send(frames, host)), new Set([0]));
        assert.equal(bench.counters.get(ADAPTER_PORT, 'sentDatagrams') - before, frames.length);
        await bench.until('all of them', () => got.length === 1 + sizes.length);
        const payloads = frames.map((frame) => frame.subarray(42));
        assert.deepEqual(got.slice(1), payloads);
        const trains = () => bench.lan.seen.filter(({ header }) => header.gsoType !== GSO.none);
        await bench.lan.until('what came over the cable', () => trains().length === 2);
        assert.deepEqual(
          trains().map(({ header, bytes }) => [header.gsoType, bytes.length]),
          [
            [GSO.udpL4, 42 + 40 * 200 + 50],
            [GSO.udpL4, 42 + 2 * 200],
          ],
        );
      } finally {
        socket.close();
      }
    },
  },

  'couples where the kernel cuts before the interface, and only there': {
    options: { coupleUdp: 'auto' },
    async run(bench) {
      const identified = () => {
        const ports = { source: VM, destination: NEIGHBOUR, sourcePort: 7, destinationPort: 9 };
        const payload = udp(ports, Buffer.alloc(200, 'one of a row'));
        const addresses = { source: VM, destination: NEIGHBOUR, protocol: PROTOCOL.udp };
        const packet = ipv4({ ...addresses, identification: 500 }, payload);
        return ethernet({ source: ANY_MAC, destination: ANY_MAC, type: 0x0800 }, packet);
      };
      // Whether they left as one is seen by the identifications: a cut counts them on.
      const seenOf = async (what: string) => {
        bench.lan.poll();
        bench.lan.seen.length = 0;
        bench.send([identified(), identified(), identified()]);
        // An announcement may come among them.
        const row = () => bench.lan.seen.filter(({ parsed }) => parsed.udp !== undefined);
        await bench.lan.until(what, () => row().length >= 3);
        for (const { bytes, header, parsed } of row()) {
          assert.equal(header.gsoType, GSO.none);
          assert.equal(parsed.udp!.payload.toString(), identified().subarray(42).toString());
          assert.equal(bytes.length, 42 + 200);
        }
        return row().map(({ parsed }) => parsed.ip!.identification);
      };
      const logged = (line: string) => () => bench.log.some((each) => each.includes(line));
      await bench.open();
      await bench.meet(datagram(1));
      assert.deepEqual(await seenOf('a row, each by itself'), [500, 500, 500]);
      setFeature('bw0', 'tx-udp-segmentation', false);
      await bench.until('told of the change', logged('coupleUdp is on'));
      assert.deepEqual(await seenOf('a row, cut by the kernel'), [500, 501, 502]);
      setFeature('bw0', 'tx-udp-segmentation', true);
      await bench.until('told of the next', logged('coupleUdp is off'));
      assert.deepEqual(await seenOf('a row, each by itself again'), [500, 500, 500]);
    },
  },

  'says why it could not be opened, and opens later': {
    async run(bench) {
      ip('link', 'set', 'bw0', 'name', 'hidden');
      bench.adapter.open();
      await bench.until('refused', () => bench.refusals.length === 1);
      assert.equal(bench.adapter.state, 'closed');
      assert.match(bench.adapter.reason, /bw0|ENODEV|No such device/);
      ip('link', 'set', 'hidden', 'name', 'bw0');
      ip('link', 'set', 'bw0', 'down');
      bench.adapter.open();
      await bench.until('opened while down', () => bench.adapter.state === 'down');
      ip('link', 'set', 'bw0', 'up');
      await bench.until('open', () => bench.adapter.state === 'open');
    },
  },

  'sends broadcasts and multicasts without asking': {
    async run(bench) {
      await bench.open();
      const targets = [
        ['255.255.255.255', BROADCAST],
        ['10.77.0.255', BROADCAST],
        ['224.0.0.251', '01:00:5e:00:00:fb'],
        ['239.255.171.205', '01:00:5e:7f:ab:cd'],
      ];
      for (const [address, mac] of targets) {
        assert.deepEqual(bench.send([datagram(9, VM, address)], address), [0]);
        const { parsed } = await bench.lan.until(
          address,
          ({ parsed }) => parsed.ip?.destination === address,
        );
        assert.equal(parsed.destination, mac);
        assert.equal(parsed.source, macText(bench.adapter.mac));
      }
    },
  },

  'leaves no descriptor and no mapping behind': {
    async run(bench) {
      const count = () => ({
        descriptors: readdirSync('/proc/self/fd').length,
        rings: readFileSync('/proc/self/maps', 'utf8')
          .split('\n')
          .filter((line) => line.includes('socket:')).length,
      });
      await bench.open();
      bench.adapter.close('once');
      const before = count();
      for (let round = 0; round < 30; round++) {
        await bench.open();
        bench.send([datagram(10)]);
        bench.adapter.close('again');
      }
      assert.deepEqual(count(), before);
      // An answer that comes after the wish was taken back.
      bench.adapter.open();
      bench.adapter.close('changed my mind');
      await new Promise(setImmediate);
      assert.equal(bench.adapter.state, 'closed');
      assert.deepEqual(count(), before);
    },
  },
};

/** One scenario on fresh interfaces. */
async function play({ options, run }: (typeof scenarios)[string]): Promise<void> {
  plug();
  try {
    await until('both ends up', () => isUp(native.interfaceInfo('bw0').flags));
    const bench = new Bench(options);
    try {
      await run(bench);
      assert.equal(bench.copies.refused, 0, 'no copy was refused');
    } finally {
      bench.close();
    }
  } finally {
    unplug();
  }
}

/** Plays them all, or those named; one line of JSON for each: its name and its error. */
async function main(names: string[]): Promise<void> {
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (names.length > 0 && !names.includes(name)) continue;
    let error: string | null = null;
    try {
      await play(scenario);
    } catch (thrown) {
      error = (thrown as Error).stack ?? String(thrown);
    }
    console.log(JSON.stringify({ name, error }));
  }
}

if (process.argv[1].endsWith('scenarios.ts')) await main(process.argv.slice(2));
