/**
 * Datagrams as VMs of the default test network send them: through the base's MAC, from the sender's address.
 */
import { BASE_MAC } from './daemon.ts';
import {
  type ChecksumStyle,
  ETHERTYPE,
  ethernet,
  type Ipv4Fields,
  icmp,
  ipv4,
  PROTOCOL,
  tcp,
  udp,
} from './packets.ts';

/** Who a VM is. */
export interface Host {
  mac: string;
  ip: string;
}

export const A: Host = { mac: '52:54:00:00:00:0a', ip: '10.77.0.10' };
export const B: Host = { mac: '52:54:00:00:00:0b', ip: '10.77.0.11' };
export const C: Host = { mac: '52:54:00:00:00:0c', ip: '10.77.0.12' };

/** VMs a, b and c of the default network. */
export const THREE_VMS = {
  a: { addresses: [A.ip], mac: A.mac },
  b: { addresses: [B.ip], mac: B.mac },
  c: { addresses: [C.ip], mac: C.mac },
};

/** An IPv4 frame from a VM to the base's MAC. */
export function ipFrame(
  from: Host,
  to: string,
  protocol: number,
  payload: Uint8Array,
  fields: Partial<Ipv4Fields> = {},
): Buffer {
  return ethernet(
    { source: from.mac, destination: BASE_MAC, type: ETHERTYPE.ipv4 },
    ipv4({ source: from.ip, destination: to, protocol, ...fields }, payload),
  );
}

export function udpFrame(
  from: Host,
  to: string,
  payload: Uint8Array,
  options: { checksum?: ChecksumStyle; ip?: Partial<Ipv4Fields>; ports?: [number, number] } = {},
): Buffer {
  const [sourcePort, destinationPort] = options.ports ?? [4000, 5000];
  const segment = udp(
    {
      source: from.ip,
      destination: to,
      sourcePort,
      destinationPort,
      checksum: options.checksum ?? 'full',
    },
    payload,
  );
  return ipFrame(from, to, PROTOCOL.udp, segment, options.ip);
}

export function tcpFrame(
  from: Host,
  to: string,
  payload: Uint8Array,
  options: {
    checksum?: ChecksumStyle;
    sequence?: number;
    flags?: number;
    ip?: Partial<Ipv4Fields>;
    tcpOptions?: Uint8Array;
  } = {},
): Buffer {
  const segment = tcp(
    {
      source: from.ip,
      destination: to,
      sourcePort: 4000,
      destinationPort: 5000,
      sequence: options.sequence ?? 0,
      checksum: options.checksum ?? 'full',
      ...(options.flags === undefined ? {} : { flags: options.flags }),
      ...(options.tcpOptions ? { options: options.tcpOptions } : {}),
    },
    payload,
  );
  return ipFrame(from, to, PROTOCOL.tcp, segment, options.ip);
}

export function echoFrame(
  from: Host,
  to: string,
  sequence = 1,
  payload = Buffer.from('echo'),
): Buffer {
  return ipFrame(from, to, PROTOCOL.icmp, icmp({ type: 8, rest: 0x12340000 | sequence }, payload));
}

/** What a receiver's frame must look like when the base forwarded `sent`: the same, with both MACs rewritten. */
export function forwarded(sent: Uint8Array, receiver: Host): Buffer {
  const frame = Buffer.from(sent);
  Buffer.from(receiver.mac.replaceAll(':', ''), 'hex').copy(frame, 0);
  Buffer.from(BASE_MAC.replaceAll(':', ''), 'hex').copy(frame, 6);
  return frame;
}
