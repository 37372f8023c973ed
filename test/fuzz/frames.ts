/** What the fuzzer's VMs send before it is spoilt: one of each kind, with its virtio-net header (12 bytes) in front. */
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { encodeNetHeader, GSO, HDR_FLAG, type NetHeader } from '../support/net-header.ts';
import { arp, BROADCAST, ETHERTYPE, ethernet, ipv4, PROTOCOL, udp } from '../support/packets.ts';
import { C, echoFrame, type Host, ipFrame, tcpFrame, udpFrame } from '../support/traffic.ts';

function packet(frame: Uint8Array, header: Partial<NetHeader> = {}): Buffer {
  return Buffer.concat([encodeNetHeader(header, 12), frame]);
}

const partial = (offset: number): Partial<NetHeader> => ({
  flags: HDR_FLAG.needsCsum,
  checksumStart: 34,
  checksumOffset: offset,
});

/** Packets of `from`, whose neighbour is `to`. The first PLAIN_PACKETS are plain ones. */
export function packetsOf(from: Host, to: Host): Buffer[] {
  const text = (length: number) => Buffer.alloc(length, 'basewire');
  const plain = [0, 1, 22, 64, 512, 1472].map((length) =>
    packet(udpFrame(from, to.ip, text(length))),
  );
  const tso: Partial<NetHeader> = {
    ...partial(16),
    gsoType: GSO.tcpv4,
    gsoSize: 1448,
    headerLength: 54,
  };
  const group = Buffer.from(from.mac.replaceAll(':', ''), 'hex');
  return [
    ...plain,
    packet(udpFrame(from, to.ip, text(100), { checksum: 'partial' }), partial(6)),
    packet(tcpFrame(from, to.ip, text(100))),
    packet(tcpFrame(from, to.ip, text(8000), { checksum: 'partial' }), tso),
    packet(tcpFrame(from, to.ip, text(60000), { checksum: 'partial' }), tso),
    packet(udpFrame(from, to.ip, text(65_000))),
    packet(udpFrame(from, to.ip, text(64), { ip: { ttl: 1 } })),
    packet(udpFrame(from, to.ip, text(64), { ip: { flags: 1, fragmentOffset: 185 } })),
    packet(
      udpFrame(from, to.ip, text(64), { ip: { options: Buffer.from('8307040a4d000a00', 'hex') } }),
    ),
    packet(udpFrame(from, '192.0.2.1', text(64))),
    packet(udpFrame(from, C.ip, text(64))),
    packet(udpFrame(from, from.ip, text(64))),
    packet(udpFrame(from, '224.0.0.1', text(64))),
    packet(udpFrame({ ...from, ip: to.ip }, to.ip, text(64))),
    packet(udpFrame({ ...from, mac: to.mac }, to.ip, text(64))),
    packet(udpFrame(from, BASE_IP, Buffer.from('{"id":1,"op":"status"}'), { ports: [9, 7356] })),
    packet(udpFrame(from, BASE_IP, text(20))),
    packet(echoFrame(from, BASE_IP)),
    packet(
      ethernet(
        { source: from.mac, destination: BROADCAST, type: ETHERTYPE.arp },
        arp({ operation: 1, senderMac: from.mac, senderIp: from.ip, targetIp: BASE_IP }),
      ),
    ),
    packet(
      ethernet(
        { source: from.mac, destination: BROADCAST, type: ETHERTYPE.ipv4 },
        ipv4(
          { source: from.ip, destination: '10.77.0.255', protocol: PROTOCOL.udp },
          udp(
            { source: from.ip, destination: '10.77.0.255', sourcePort: 1, destinationPort: 2 },
            text(40),
          ),
        ),
      ),
    ),
    packet(ethernet({ source: from.mac, destination: BASE_MAC, type: ETHERTYPE.ipv6 }, text(60))),
    packet(ethernet({ source: from.mac, destination: BASE_MAC, type: ETHERTYPE.vlan }, text(60))),
    packet(ipFrame(from, to.ip, 47, text(64))),
    packet(Buffer.concat([group, group])),
    packet(Buffer.alloc(0)),
  ];
}

/** How many of them, from the first on, are plain datagrams that pass everywhere. */
export const PLAIN_PACKETS = 6;
