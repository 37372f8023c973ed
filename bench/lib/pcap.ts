/** Frames for DPDK's net_pcap: builds an Ethernet frame with UDP inside, and writes the classic libpcap file format. */
import { writeFileSync } from 'node:fs';

export interface DatagramFields {
  sourceMac: string;
  destinationMac: string;
  source: string;
  destination: string;
  sourcePort?: number;
  destinationPort?: number;
  /** Of the whole frame, without checksum. */
  bytes: number;
}

const mac = (text: string) => Buffer.from(text.replaceAll(':', ''), 'hex');
const address = (text: string) => Buffer.from(text.split('.').map(Number));

/** One frame; UDP with its checksum and "don't fragment", as Linux sends it. */
export function udpFrame(fields: DatagramFields): Buffer {
  const frame = Buffer.alloc(fields.bytes);
  mac(fields.destinationMac).copy(frame, 0);
  mac(fields.sourceMac).copy(frame, 6);
  frame.writeUInt16BE(0x0800, 12);
  frame[14] = 0x45;
  frame[20] = 0x40;
  frame.writeUInt16BE(fields.bytes - 14, 16);
  frame[22] = 64;
  frame[23] = 17;
  address(fields.source).copy(frame, 26);
  address(fields.destination).copy(frame, 30);
  frame.writeUInt16BE(checksum(frame.subarray(14, 34), 0), 24);
  frame.writeUInt16BE(fields.sourcePort ?? 9, 34);
  frame.writeUInt16BE(fields.destinationPort ?? 9, 36);
  frame.writeUInt16BE(fields.bytes - 34, 38);
  // The pseudo-header: addresses, and besides protocol and length.
  frame.writeUInt16BE(checksum(frame.subarray(26), 17 + fields.bytes - 34) || 0xffff, 40);
  return frame;
}

/** RFC 1071, `start` added. */
function checksum(bytes: Buffer, start: number): number {
  let sum = start;
  for (let at = 0; at < bytes.length; at++) sum += bytes[at]! << (at % 2 === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function writePcap(path: string, frames: Buffer[]): void {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(65535, 16);
  head.writeUInt32LE(1, 20); // Ethernet
  const parts: Uint8Array[] = [head];
  for (const frame of frames) {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    parts.push(record, frame);
  }
  writeFileSync(path, Buffer.concat(parts));
}
