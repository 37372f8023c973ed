/** Frames with an offload asked for, as a Linux guest makes them, and what they must become. */
import type { NetHeader } from './net-header.ts';
import { GSO, HDR_FLAG } from './net-header.ts';
import * as packets from './packets.ts';

export const SOURCE = '10.77.0.11';
export const DESTINATION = '10.77.0.12';
export const SOURCE_MAC = '52:54:00:00:00:11';
export const BASE_MAC = '02:00:0a:4d:00:01';

export interface Offloaded {
  frame: Buffer;
  header: NetHeader;
}

export interface Shape {
  payload: Uint8Array;
  ipOptions?: number;
  tcpOptions?: number;
  /** 0: only the checksum. */
  gsoSize?: number;
  flags?: number;
  sequence?: number;
  identification?: number;
}

function frameOf(protocol: number, l4: Buffer, shape: Shape): Buffer {
  return packets.ethernet(
    { source: SOURCE_MAC, destination: BASE_MAC, type: packets.ETHERTYPE.ipv4 },
    packets.ipv4(
      {
        source: SOURCE,
        destination: DESTINATION,
        protocol,
        options: Buffer.alloc(shape.ipOptions ?? 0, 1),
        identification: shape.identification ?? 0x1234,
      },
      l4,
    ),
  );
}

/** TCP with its checksum left to the device, and with gsoSize also its segmentation. */
export function offloadedTcp(shape: Shape): Offloaded {
  const l4 = packets.tcp(
    {
      source: SOURCE,
      destination: DESTINATION,
      sourcePort: 50000,
      destinationPort: 443,
      sequence: shape.sequence ?? 1000,
      acknowledgement: 77,
      flags: shape.flags ?? packets.TCP_FLAG.ack,
      options: Buffer.alloc(shape.tcpOptions ?? 0, 1),
      checksum: 'partial',
    },
    shape.payload,
  );
  const start = 34 + (shape.ipOptions ?? 0);
  const gsoSize = shape.gsoSize ?? 0;
  return {
    frame: frameOf(packets.PROTOCOL.tcp, l4, shape),
    header: {
      flags: HDR_FLAG.needsCsum,
      gsoType: gsoSize > 0 ? GSO.tcpv4 : GSO.none,
      headerLength: gsoSize > 0 ? start + 20 + (shape.tcpOptions ?? 0) : 0,
      gsoSize,
      checksumStart: start,
      checksumOffset: 16,
      buffers: 0,
    },
  };
}

/** UDP with its checksum left to the device. */
export function offloadedUdp(shape: Shape): Offloaded {
  const l4 = packets.udp(
    {
      source: SOURCE,
      destination: DESTINATION,
      sourcePort: 40000,
      destinationPort: 53,
      checksum: 'partial',
    },
    shape.payload,
  );
  const start = 34 + (shape.ipOptions ?? 0);
  const gsoSize = shape.gsoSize ?? 0;
  return {
    frame: frameOf(packets.PROTOCOL.udp, l4, shape),
    header: {
      flags: HDR_FLAG.needsCsum,
      gsoType: gsoSize > 0 ? GSO.udpL4 : GSO.none,
      headerLength: gsoSize > 0 ? start + 8 : 0,
      gsoSize,
      checksumStart: start,
      checksumOffset: 6,
      buffers: 0,
    },
  };
}

/** `length` bytes of which no two stretches are alike. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 0x12345678;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
