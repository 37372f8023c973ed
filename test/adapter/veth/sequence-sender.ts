/**
 * Sends so many UDP datagrams (first argument) to an address (second), in bursts: each begins with its number, and what follows
 * can be told from that. Its own core writes them into the receiver's ring.
 */
import { createSocket } from 'node:dgram';

/** Datagrams between two pauses of a millisecond: the receiver looks at each byte and must keep up. */
const BURST = 20;

export function payload(number: number): Buffer {
  const bytes = Buffer.alloc(8 + ((number * 37) % 600), number * 31);
  bytes.writeUInt32LE(number);
  return bytes;
}

if (process.argv[1].endsWith('sequence-sender.ts')) {
  const [count, address] = [Number(process.argv[2]), process.argv[3]];
  const socket = createSocket('udp4');
  const send = (number: number): void => {
    if (number === count) socket.close();
    else if (number % BURST === 0) setTimeout(sendOne, 1, number);
    else sendOne(number);
  };
  const sendOne = (number: number): void => {
    socket.send(payload(number), 2000, address, () => send(number + 1));
  };
  send(0);
}
