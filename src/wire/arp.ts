/**
 * ARP for IPv4 over Ethernet (RFC 826, RFC 5227).
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     |        Hardware Type          |        Protocol Type          |
 *     | Hardw. Length | Proto. Length |          Operation            |
 *     |                      Sender MAC Address                       |
 *     |                               |   Sender IP Address           |
 *     |                               |      Target MAC Address       |
 *     |                                                               |
 *     |                      Target IP Address                        |
 */
import { read16, readKey, write16, writeKey } from './bytes.ts';

export const HARDWARE_TYPE = 0;
export const PROTOCOL_TYPE = 2;
export const HARDWARE_LENGTH = 4;
export const PROTOCOL_LENGTH = 5;
export const OPERATION = 6;
export const SENDER_MAC = 8;
export const SENDER_IP = 14;
export const TARGET_MAC = 18;
export const TARGET_IP = 24;
export const PACKET_BYTES = 28;

export const REQUEST = 1;
export const REPLY = 2;

const ETHERNET = 1;
const IPV4 = 0x0800;

/** True for a whole ARP packet about IPv4 over Ethernet, whatever its operation. */
export function check(bytes: Uint8Array, at: number, available: number): boolean {
  return (
    available >= PACKET_BYTES &&
    read16(bytes, at + HARDWARE_TYPE) === ETHERNET &&
    read16(bytes, at + PROTOCOL_TYPE) === IPV4 &&
    bytes[at + HARDWARE_LENGTH] === 6 &&
    bytes[at + PROTOCOL_LENGTH] === 4
  );
}

/** Writes the fixed fields that `check` wants to see. */
export function setTypes(bytes: Uint8Array, at: number): void {
  write16(bytes, at + HARDWARE_TYPE, ETHERNET);
  write16(bytes, at + PROTOCOL_TYPE, IPV4);
  bytes[at + HARDWARE_LENGTH] = 6;
  bytes[at + PROTOCOL_LENGTH] = 4;
}

export function operation(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + OPERATION);
}

export function setOperation(bytes: Uint8Array, at: number, value: number): void {
  write16(bytes, at + OPERATION, value);
}

/** Sender's address as a key; 0 in a probe for duplicate addresses (RFC 5227 §2.1.1). */
export function senderIp(bytes: Uint8Array, at: number): number {
  return readKey(bytes, at + SENDER_IP);
}

export function setSenderIp(bytes: Uint8Array, at: number, key: number): void {
  writeKey(bytes, at + SENDER_IP, key);
}

/** Target's address as a key. */
export function targetIp(bytes: Uint8Array, at: number): number {
  return readKey(bytes, at + TARGET_IP);
}

export function setTargetIp(bytes: Uint8Array, at: number, key: number): void {
  writeKey(bytes, at + TARGET_IP, key);
}
