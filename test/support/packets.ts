/**
 * Builds and takes apart Ethernet, ARP, IPv4, UDP, TCP and ICMP for tests, and the virtio-net header in front.
 * Written from the RFCs and the virtio specification alone, not from src/: a fault there must not be mirrored here.
 * Every field that a builder computes can be given instead, to tell a lie.
 */

export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd } as const;
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17 } as const;
export const BROADCAST = 'ff:ff:ff:ff:ff:ff';

export function macBytes(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll(':', ''), 'hex');
  if (bytes.length !== 6) throw new Error(`not a MAC address: ${text}`);
  return bytes;
}

export function macText(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export function ipBytes(text: string): Buffer {
  const parts = text.split('.').map(Number);
  if (parts.length !== 4 || parts.some((part) => !(part >= 0 && part <= 255))) {
    throw new Error(`not an IPv4 address: ${text}`);
  }
  return Buffer.from(parts);
}

export function ipText(bytes: Uint8Array): string {
  return [...bytes].join('.');
}

/** One's complement sum of 16-bit words over all parts as if they were one buffer (RFC 1071), folded. */
export function sum16(...parts: Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  if (bytes.length % 2 === 1) sum += bytes[bytes.length - 1] << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** The Internet checksum: complement of the sum. */
export function checksum(...parts: Uint8Array[]): number {
  return ~sum16(...parts) & 0xffff;
}

function pseudoHeader(
  source: string,
  destination: string,
  protocol: number,
  length: number,
): Buffer {
  const tail = Buffer.alloc(4);
  tail[1] = protocol;
  tail.writeUInt16BE(length, 2);
  return Buffer.concat([ipBytes(source), ipBytes(destination), tail]);
}

// --- building ---------------------------------------------------------------------------------

export function ethernet(
  fields: { source: string; destination: string; type: number },
  payload: Uint8Array,
): Buffer {
  const type = Buffer.alloc(2);
  type.writeUInt16BE(fields.type);
  return Buffer.concat([macBytes(fields.destination), macBytes(fields.source), type, payload]);
}

export interface ArpFields {
  operation: 1 | 2;
  senderMac: string;
  senderIp: string;
  targetMac?: string;
  targetIp: string;
  hardwareType?: number;
  protocolType?: number;
  hardwareLength?: number;
  protocolLength?: number;
}

export function arp(fields: ArpFields): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(fields.hardwareType ?? 1, 0);
  head.writeUInt16BE(fields.protocolType ?? ETHERTYPE.ipv4, 2);
  head[4] = fields.hardwareLength ?? 6;
  head[5] = fields.protocolLength ?? 4;
  head.writeUInt16BE(fields.operation, 6);
  return Buffer.concat([
    head,
    macBytes(fields.senderMac),
    ipBytes(fields.senderIp),
    macBytes(fields.targetMac ?? '00:00:00:00:00:00'),
    ipBytes(fields.targetIp),
  ]);
}

export interface Ipv4Fields {
  source: string;
  destination: string;
  protocol: number;
  ttl?: number;
  identification?: number;
  /** Bit 1: don't fragment, bit 0: more fragments. */
  flags?: number;
  /** In units of 8 bytes. */
  fragmentOffset?: number;
  options?: Uint8Array;
  tos?: number;
  version?: number;
  /** In 32-bit words. */
  headerWords?: number;
  totalLength?: number;
  checksum?: number;
}

export function ipv4(fields: Ipv4Fields, payload: Uint8Array): Buffer {
  const options = fields.options ?? new Uint8Array(0);
  const length = 20 + options.length;
  const header = Buffer.alloc(length);
  header[0] = ((fields.version ?? 4) << 4) | (fields.headerWords ?? length / 4);
  header[1] = fields.tos ?? 0;
  header.writeUInt16BE(fields.totalLength ?? length + payload.length, 2);
  header.writeUInt16BE(fields.identification ?? 0, 4);
  header.writeUInt16BE(((fields.flags ?? 2) << 13) | (fields.fragmentOffset ?? 0), 6);
  header[8] = fields.ttl ?? 64;
  header[9] = fields.protocol;
  ipBytes(fields.source).copy(header, 12);
  ipBytes(fields.destination).copy(header, 16);
  header.set(options, 20);
  header.writeUInt16BE(fields.checksum ?? checksum(header), 10);
  return Buffer.concat([header, payload]);
}

/**
 * How the transport checksum is filled in. `partial` is what a sender that offloads it leaves: the sum of the pseudo header only
 * (not complemented), the rest being the device's work.
 */
export type ChecksumStyle = 'full' | 'partial' | 'none' | number;

function transportChecksum(
  style: ChecksumStyle,
  addresses: { source: string; destination: string },
  protocol: number,
  segment: Uint8Array,
): number {
  if (typeof style === 'number') return style;
  if (style === 'none') return 0;
  const pseudo = pseudoHeader(addresses.source, addresses.destination, protocol, segment.length);
  if (style === 'partial') return sum16(pseudo);
  const value = checksum(pseudo, segment);
  return value === 0 && protocol === PROTOCOL.udp ? 0xffff : value;
}

export function udp(
  fields: {
    source: string;
    destination: string;
    sourcePort: number;
    destinationPort: number;
    checksum?: ChecksumStyle;
    length?: number;
  },
  payload: Uint8Array,
): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(fields.sourcePort, 0);
  header.writeUInt16BE(fields.destinationPort, 2);
  header.writeUInt16BE(fields.length ?? 8 + payload.length, 4);
  const segment = Buffer.concat([header, payload]);
  segment.writeUInt16BE(
    transportChecksum(fields.checksum ?? 'full', fields, PROTOCOL.udp, segment),
    6,
  );
  return segment;
}

export const TCP_FLAG = {
  fin: 1,
  syn: 2,
  rst: 4,
  psh: 8,
  ack: 16,
  urg: 32,
  ece: 64,
  cwr: 128,
} as const;

export function tcp(
  fields: {
    source: string;
    destination: string;
    sourcePort: number;
    destinationPort: number;
    sequence?: number;
    acknowledgement?: number;
    flags?: number;
    window?: number;
    options?: Uint8Array;
    checksum?: ChecksumStyle;
  },
  payload: Uint8Array,
): Buffer {
  const options = fields.options ?? new Uint8Array(0);
  const header = Buffer.alloc(20 + options.length);
  header.writeUInt16BE(fields.sourcePort, 0);
  header.writeUInt16BE(fields.destinationPort, 2);
  header.writeUInt32BE((fields.sequence ?? 0) >>> 0, 4);
  header.writeUInt32BE((fields.acknowledgement ?? 0) >>> 0, 8);
  header[12] = (header.length / 4) << 4;
  header[13] = fields.flags ?? TCP_FLAG.ack;
  header.writeUInt16BE(fields.window ?? 65535, 14);
  header.set(options, 20);
  const segment = Buffer.concat([header, payload]);
  segment.writeUInt16BE(
    transportChecksum(fields.checksum ?? 'full', fields, PROTOCOL.tcp, segment),
    16,
  );
  return segment;
}

export function icmp(
  fields: { type: number; code?: number; rest?: number; checksum?: number },
  payload: Uint8Array,
): Buffer {
  const header = Buffer.alloc(8);
  header[0] = fields.type;
  header[1] = fields.code ?? 0;
  header.writeUInt32BE((fields.rest ?? 0) >>> 0, 4);
  const message = Buffer.concat([header, payload]);
  message.writeUInt16BE(fields.checksum ?? checksum(message), 2);
  return message;
}

// --- taking apart -------------------------------------------------------------------------------

export interface Parsed {
  destination: string;
  source: string;
  type: number;
  arp?: {
    operation: number;
    senderMac: string;
    senderIp: string;
    targetMac: string;
    targetIp: string;
  };
  ip?: {
    source: string;
    destination: string;
    protocol: number;
    ttl: number;
    identification: number;
    flags: number;
    fragmentOffset: number;
    totalLength: number;
    tos: number;
    headerLength: number;
    payload: Buffer;
    /** Bytes of the frame behind the datagram. */
    trailer: Buffer;
  };
  udp?: { sourcePort: number; destinationPort: number; length: number; payload: Buffer };
  tcp?: {
    sourcePort: number;
    destinationPort: number;
    sequence: number;
    acknowledgement: number;
    flags: number;
    payload: Buffer;
  };
  icmp?: { type: number; code: number; rest: number; payload: Buffer };
  /** What the transport checksum is worth. */
  checksum: 'good' | 'partial' | 'absent' | 'bad' | 'none';
  /** Everything that is wrong with it; empty when it is well-formed and its checksums hold. */
  problems: string[];
}

/** An ARP request in which sender and target are the same address (RFC 5227 §3): an IP stack takes it without a word to anybody. */
export function isAnnouncement(frame: Buffer): boolean {
  return (
    frame.length >= 42 &&
    frame.readUInt16BE(12) === 0x0806 &&
    frame.readUInt16BE(20) === 1 &&
    frame.readUInt32BE(28) === frame.readUInt32BE(38)
  );
}

/** Takes a frame apart and checks lengths and checksums. */
export function parse(bytes: Uint8Array): Parsed {
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parsed: Parsed = { destination: '', source: '', type: 0, checksum: 'none', problems: [] };
  if (frame.length < 14) {
    parsed.problems.push(`frame of ${frame.length} bytes`);
    return parsed;
  }
  parsed.destination = macText(frame.subarray(0, 6));
  parsed.source = macText(frame.subarray(6, 12));
  parsed.type = frame.readUInt16BE(12);
  if (parsed.type === ETHERTYPE.arp) parseArp(frame.subarray(14), parsed);
  if (parsed.type === ETHERTYPE.ipv4) parseIpv4(frame.subarray(14), parsed);
  return parsed;
}

function parseArp(bytes: Buffer, parsed: Parsed): void {
  if (bytes.length < 28) {
    parsed.problems.push('ARP cut off');
    return;
  }
  if (bytes.readUInt32BE(0) !== 0x00010800 || bytes[4] !== 6 || bytes[5] !== 4) {
    parsed.problems.push('ARP not for IPv4 over Ethernet');
  }
  parsed.arp = {
    operation: bytes.readUInt16BE(6),
    senderMac: macText(bytes.subarray(8, 14)),
    senderIp: ipText(bytes.subarray(14, 18)),
    targetMac: macText(bytes.subarray(18, 24)),
    targetIp: ipText(bytes.subarray(24, 28)),
  };
}

function parseIpv4(bytes: Buffer, parsed: Parsed): void {
  const headerLength = (bytes[0] & 15) * 4;
  const totalLength = bytes.length >= 20 ? bytes.readUInt16BE(2) : 0;
  if (
    bytes[0] >> 4 !== 4 ||
    headerLength < 20 ||
    totalLength < headerLength ||
    totalLength > bytes.length
  ) {
    parsed.problems.push('IPv4 header malformed');
    return;
  }
  if (sum16(bytes.subarray(0, headerLength)) !== 0xffff)
    parsed.problems.push('IPv4 header checksum');
  const payload = bytes.subarray(headerLength, totalLength);
  const fragment = bytes.readUInt16BE(6);
  const ip = {
    source: ipText(bytes.subarray(12, 16)),
    destination: ipText(bytes.subarray(16, 20)),
    protocol: bytes[9],
    ttl: bytes[8],
    identification: bytes.readUInt16BE(4),
    flags: fragment >> 13,
    fragmentOffset: fragment & 0x1fff,
    totalLength,
    tos: bytes[1],
    headerLength,
    payload,
    trailer: bytes.subarray(totalLength),
  };
  parsed.ip = ip;
  if (ip.fragmentOffset !== 0 || (ip.flags & 1) !== 0) return; // no whole transport header to check
  if (ip.protocol === PROTOCOL.udp) parseUdp(payload, ip, parsed);
  if (ip.protocol === PROTOCOL.tcp) parseTcp(payload, ip, parsed);
  if (ip.protocol === PROTOCOL.icmp) parseIcmp(payload, parsed);
}

function judge(
  segment: Buffer,
  stored: number,
  protocol: number,
  ip: { source: string; destination: string },
  parsed: Parsed,
): void {
  const pseudo = pseudoHeader(ip.source, ip.destination, protocol, segment.length);
  if (protocol === PROTOCOL.udp && stored === 0) parsed.checksum = 'absent';
  else if (sum16(pseudo, segment) === 0xffff) parsed.checksum = 'good';
  else if (stored === sum16(pseudo)) parsed.checksum = 'partial';
  else {
    parsed.checksum = 'bad';
    parsed.problems.push(`checksum of protocol ${protocol}`);
  }
}

function parseUdp(segment: Buffer, ip: NonNullable<Parsed['ip']>, parsed: Parsed): void {
  if (segment.length < 8) {
    parsed.problems.push('UDP cut off');
    return;
  }
  const length = segment.readUInt16BE(4);
  if (length !== segment.length) parsed.problems.push(`UDP length ${length} of ${segment.length}`);
  parsed.udp = {
    sourcePort: segment.readUInt16BE(0),
    destinationPort: segment.readUInt16BE(2),
    length,
    payload: segment.subarray(8),
  };
  judge(segment, segment.readUInt16BE(6), PROTOCOL.udp, ip, parsed);
}

function parseTcp(segment: Buffer, ip: NonNullable<Parsed['ip']>, parsed: Parsed): void {
  const headerLength = segment.length >= 20 ? (segment[12] >> 4) * 4 : 0;
  if (headerLength < 20 || headerLength > segment.length) {
    parsed.problems.push('TCP cut off');
    return;
  }
  parsed.tcp = {
    sourcePort: segment.readUInt16BE(0),
    destinationPort: segment.readUInt16BE(2),
    sequence: segment.readUInt32BE(4),
    acknowledgement: segment.readUInt32BE(8),
    flags: segment[13],
    payload: segment.subarray(headerLength),
  };
  judge(segment, segment.readUInt16BE(16), PROTOCOL.tcp, ip, parsed);
}

function parseIcmp(message: Buffer, parsed: Parsed): void {
  if (message.length < 8) {
    parsed.problems.push('ICMP cut off');
    return;
  }
  parsed.icmp = {
    type: message[0],
    code: message[1],
    rest: message.readUInt32BE(4),
    payload: message.subarray(8),
  };
  parsed.checksum = sum16(message) === 0xffff ? 'good' : 'bad';
  if (parsed.checksum === 'bad') parsed.problems.push('ICMP checksum');
}
