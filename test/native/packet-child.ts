/**
 * Run by packet.test.ts inside a network namespace of its own (`unshare -n`), which the kernel removes with the process.
 * Makes a veth pair, one packet socket on each end, and prints as JSON what went through the rings.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { setFeature } from '../support/interface-feature.ts';
import { native, type PacketSocket, type Waiter } from '../../src/native.ts';

const RX_DATA_READY = 1; // TP_STATUS_USER
const TX_AVAILABLE = 0;
const TX_SEND_REQUEST = 1;
const TX_WRONG_FORMAT = 4;
/** In the receive ring the virtio-net header is struct virtio_net_hdr, without num_buffers. */
const RX_HEADER = 10;
/** TPACKET3_HDRLEN - sizeof(sockaddr_ll): where the virtio-net header of a transmit frame starts. */
const TX_DATA = 48;
const UNICAST = Uint8Array.of(0x02, 0, 0x0a, 0x4d, 0, 1);

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'inherit'] });
}

function say(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** One end: the socket, its rings as arrays, and where it is in them. */
class End {
  readonly socket: PacketSocket;
  readonly region: number;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly waiter: Waiter;
  block = 0;
  frame = 0;

  constructor(name: string, frameBytes: number, frames: number) {
    this.socket = native.packetOpen({
      interfaceIndex: native.interfaceInfo(name).index,
      blockBytes: 65_536,
      blocks: 4,
      retireMilliseconds: 1,
      frameBytes,
      frames,
      unicast: UNICAST,
    });
    this.region = native.mapPacketRings(this.socket.fd, this.socket.mapBytes);
    const rings = native.viewRegion(this.region, 0, this.socket.mapBytes);
    this.bytes = new Uint8Array(rings);
    this.words = new Uint32Array(rings);
    this.waiter = native.createWaiter(1);
    this.waiter.add(this.socket.fd, 0, 1, false);
  }

  /** Puts a frame (with its virtio-net header) into the transmit ring and asks the kernel to send; its answer. */
  send(headerAndFrame: Uint8Array): number {
    const { receive, transmit } = this.socket;
    const at = receive.blockBytes * receive.blocks + this.frame * transmit.frameBytes;
    if (Atomics.load(this.words, at / 4 + 5) !== TX_AVAILABLE) throw new Error('ring full');
    this.words[at / 4] = 0; // tp_next_offset
    this.words[at / 4 + 3] = headerAndFrame.length; // tp_snaplen
    this.words[at / 4 + 4] = headerAndFrame.length; // tp_len
    this.bytes.set(headerAndFrame, at + TX_DATA);
    Atomics.store(this.words, at / 4 + 5, TX_SEND_REQUEST);
    const answer = native.packetSend(this.socket.fd);
    this.sentStatus = Atomics.load(this.words, at / 4 + 5);
    if (this.sentStatus === TX_WRONG_FORMAT) Atomics.store(this.words, at / 4 + 5, TX_AVAILABLE);
    else if (answer === 0) this.frame = (this.frame + 1) % transmit.frames;
    return answer;
  }
  sentStatus = 0;

  /** The next received frames of our EtherType, with RX_HEADER bytes in front; waits until there is one. */
  receive(): Uint8Array[] {
    const got: Uint8Array[] = [];
    const { blockBytes, blocks } = this.socket.receive;
    for (let tries = 0; got.length === 0 && tries < 2000; tries++) {
      const at = this.block * blockBytes;
      if ((Atomics.load(this.words, at / 4 + 2) & RX_DATA_READY) === 0) {
        this.waiter.wait(5000);
        continue;
      }
      let packets = this.words[at / 4 + 3];
      let next = at + this.words[at / 4 + 4];
      for (; packets > 0; packets--) {
        const length = this.words[next / 4 + 3];
        const mac = next + (this.words[next / 4 + 6] & 0xffff);
        const whole = this.bytes.slice(mac - RX_HEADER, mac + length);
        const type = RX_HEADER + 12;
        if (whole[type] === 0x88 && whole[type + 1] === 0xb5) got.push(whole);
        next += this.words[next / 4];
      }
      Atomics.store(this.words, at / 4 + 2, 0);
      this.block = (this.block + 1) % blocks;
    }
    return got;
  }

  close(): number {
    this.waiter.close();
    native.unmapRegion(this.region);
    native.closeDescriptor(this.socket.fd);
    return this.bytes.length;
  }
}

/** Header of zeros, broadcast, EtherType 0x88b5 (local experimental), `length` bytes in all behind the header. */
function frame(headerBytes: number, length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(headerBytes + length);
  bytes.fill(0xff, headerBytes, headerBytes + 6);
  bytes.set([0x02, 0, 0, 0, 0, seed], headerBytes + 6);
  bytes.set([0x88, 0xb5], headerBytes + 12);
  for (let i = headerBytes + 14; i < bytes.length; i++) bytes[i] = (i * seed) & 0xff;
  return bytes;
}

/** Whether the frames behind both headers are the same. */
function same(sent: Uint8Array, headerBytes: number, received: Uint8Array): boolean {
  return Buffer.compare(sent.subarray(headerBytes), received.subarray(RX_HEADER)) === 0;
}

function attempt(action: () => unknown): string {
  try {
    action();
    return 'done';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).name;
  }
}

// What IPv6 says when a link comes up fills the few blocks of our rings where we are too slow to read them.
const withoutIpv6 = '/proc/sys/net/ipv6/conf/default/disable_ipv6';
if (existsSync(withoutIpv6)) writeFileSync(withoutIpv6, '1');
ip('link', 'add', 'bwa', 'type', 'veth', 'peer', 'name', 'bwb');
ip('link', 'set', 'bwa', 'up');
ip('link', 'set', 'bwb', 'up');
const fdsBefore = readdirSync('/proc/self/fd').length;
const netlink = native.netlinkOpen();
// 2048 divides a page, 6144 does not: its frames must follow each other across blocks all the same.
const a = new End('bwa', 2048, 8);
const b = new End('bwb', 6144, 5);
const info = native.interfaceInfo('bwa');
const cutBefore = () => {
  setFeature('bwa', 'tx-udp-segmentation', false);
  const { takesLongUdp } = native.interfaceInfo('bwa');
  setFeature('bwa', 'tx-udp-segmentation', true);
  return !takesLongUdp;
};
say({
  headerBytes: a.socket.headerBytes,
  transmit: [a.socket.transmit, b.socket.transmit],
  mapped: [a.bytes.length === a.socket.mapBytes, b.bytes.length === b.socket.mapBytes],
  info: {
    type: info.type,
    mtu: info.mtu,
    up: info.flags & 1,
    mac: info.mac.length,
    index: info.index > 0,
    takesLongUdp: info.takesLongUdp,
    cutBefore: cutBefore(),
  },
});

// Both ways, more frames than the transmit ring has, so that it wraps.
const ways = [
  { from: a, to: b },
  { from: b, to: a },
].map(({ from, to }) => {
  const sent: Uint8Array[] = [];
  const received: Uint8Array[] = [];
  for (let i = 0; i < 20; i++) {
    sent.push(frame(from.socket.headerBytes, 60 + i * 75, i + 1));
    const answer = from.send(sent[i]);
    if (answer !== 0) throw new Error(`packetSend: ${answer}`);
    while (received.length <= i) received.push(...to.receive());
  }
  return sent.every((bytes, i) => same(bytes, from.socket.headerBytes, received[i]));
});
say({ ways });

// The virtio-net header goes along: a checksum left to do stays left to do.
const partial = frame(a.socket.headerBytes, 200, 9);
partial[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
new DataView(partial.buffer).setUint16(6, 34, true);
new DataView(partial.buffer).setUint16(8, 16, true);
const partialAnswer = a.send(partial);
const [arrived] = b.receive();
const there = new DataView(arrived.buffer);
say({
  partialAnswer,
  header: [arrived[0], there.getUint16(6, true), there.getUint16(8, true)],
});

// A header the kernel refuses stops the ring at that frame, and is passed by when its status is reset.
const bad = frame(a.socket.headerBytes, 200, 9);
bad[1] = 9; // no such gso_type
const badAnswer = a.send(bad);
const badStatus = a.sentStatus;
const after = frame(a.socket.headerBytes, 80, 3);
const afterAnswer = a.send(after);
say({
  badAnswer,
  badStatus,
  afterAnswer,
  arrived: same(after, a.socket.headerBytes, b.receive()[0]),
});

const statistics = native.packetStatistics(b.socket.fd);
say({
  packets: statistics[0] >= 22,
  drops: statistics[1],
  again: native.packetStatistics(b.socket.fd)[0],
});

// Down and up: the same socket goes on.
ip('link', 'set', 'bwa', 'down');
const down = a.send(frame(12, 100, 1));
const downStatus = a.sentStatus;
ip('link', 'set', 'bwa', 'up');
// Having been down is told once more, as the socket's pending error.
const told = native.packetSend(a.socket.fd);
const downUp = native.packetSend(a.socket.fd);
const [retried] = b.receive();
say({ down, downStatus, told, downUp, retried: retried.length });
a.frame = (a.frame + 1) % a.socket.transmit.frames;

// Deleted and made again: the socket stays dead.
ip('link', 'del', 'bwa');
const gone = a.send(frame(12, 100, 2));
const missing = attempt(() => native.interfaceInfo('bwa'));
ip('link', 'add', 'bwa', 'type', 'veth', 'peer', 'name', 'bwb');
ip('link', 'set', 'bwa', 'up');
ip('link', 'set', 'bwb', 'up');
say({ gone, missing, stillGone: native.packetSend(a.socket.fd) });

// All of that was told on the netlink socket.
const message = new Uint8Array(65_536);
const kinds = new Set<number>();
for (;;) {
  const got = native.receive(netlink, message, 0, message.length, new Int32Array(1));
  if (got <= 0) break;
  kinds.add(new DataView(message.buffer).getUint16(4, true));
}
say({ kinds: [...kinds].sort() });

say({
  refused: [
    attempt(() => native.interfaceInfo('')),
    attempt(() => native.interfaceInfo('a-name-of-17-char')),
    attempt(() => native.interfaceInfo('nothere')),
    attempt(() => new End('bwa', 2050, 8)),
    attempt(() => new End('bwa', 0, 8)),
    attempt(() => native.packetOpen({} as never)),
    attempt(() => native.packetOpen(null as never)),
  ],
});

const detached = [a.close(), b.close()];
native.closeDescriptor(netlink);
say({ detached, fds: readdirSync('/proc/self/fd').length - fdsBefore });
