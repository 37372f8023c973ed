/**
 * Every request we know: number, payload size, descriptors, the protocol feature it needs, its handler. The session checks
 * all of that in one place before a handler runs (vhost-user.rst, "Front-end message types").
 */
import { PROTOCOL_FEATURE } from '../virtio/features.ts';
import * as device from './device-messages.ts';
import { MAX_DESCRIPTORS } from './framing.ts';
import * as memory from './memory-messages.ts';
import * as rings from './ring-messages.ts';
import type { Session } from './session.ts';

/**
 * Serves one request. Returns the payload of its reply, or nothing. Throws `Refused` to refuse it with the state unchanged. Keeps
 * a descriptor by taking it out of `descriptors` (see `takeDescriptor`); all others are closed afterwards.
 */
export type Handler = (
  session: Session,
  payload: DataView,
  descriptors: number[],
) => Uint8Array | undefined;

export interface Message {
  name: string;
  /** Exact payload size; -1: the handler checks it. */
  size: number;
  /** Fewest and most descriptors that may come along. */
  descriptors: readonly [number, number];
  /** Protocol feature bit that must have been acknowledged; -1: none. */
  needs: number;
  /** Has a reply of its own, so is never acknowledged besides. */
  replies: boolean;
  handler: Handler;
}

function message(
  name: string,
  size: number,
  handler: Handler,
  options: { descriptors?: readonly [number, number]; needs?: number; replies?: boolean } = {},
): Message {
  return {
    name,
    size,
    handler,
    descriptors: options.descriptors ?? [0, 0],
    needs: options.needs ?? -1,
    replies: options.replies ?? false,
  };
}

const NONE = 0;
const U64 = 8;
const STATE = 8; // u32 index, u32 num
const ADDRESS = 40; // u32 index, u32 flags, u64 descriptors, used, avail, log
const LOG = 16; // u64 size, u64 offset
const REGION = 40; // u64 padding, u64 guest, size, user, offset

export const MESSAGES: ReadonlyMap<number, Message> = new Map([
  [1, message('GET_FEATURES', NONE, device.getFeatures, { replies: true })],
  [2, message('SET_FEATURES', U64, device.setFeatures)],
  [3, message('SET_OWNER', NONE, device.setOwner)],
  [4, message('RESET_OWNER', NONE, device.resetOwner)],
  [5, message('SET_MEM_TABLE', -1, memory.setMemoryTable, { descriptors: [0, MAX_DESCRIPTORS] })],
  [
    6,
    message('SET_LOG_BASE', LOG, memory.setLogBase, {
      descriptors: [1, 1],
      needs: PROTOCOL_FEATURE.LOG_SHMFD,
      replies: true,
    }),
  ],
  [7, message('SET_LOG_FD', NONE, memory.setLogFd, { descriptors: [0, 1] })],
  [8, message('SET_VRING_NUM', STATE, rings.setSize)],
  [9, message('SET_VRING_ADDR', ADDRESS, rings.setAddress)],
  [10, message('SET_VRING_BASE', STATE, rings.setBase)],
  [11, message('GET_VRING_BASE', STATE, rings.getBase, { replies: true })],
  [12, message('SET_VRING_KICK', U64, rings.setKick, { descriptors: [0, 1] })],
  [13, message('SET_VRING_CALL', U64, rings.setCall, { descriptors: [0, 1] })],
  [14, message('SET_VRING_ERR', U64, rings.setErr, { descriptors: [0, 1] })],
  [15, message('GET_PROTOCOL_FEATURES', NONE, device.getProtocolFeatures, { replies: true })],
  [16, message('SET_PROTOCOL_FEATURES', U64, device.setProtocolFeatures)],
  [17, message('GET_QUEUE_NUM', NONE, device.getQueueNumber, { replies: true })],
  [18, message('SET_VRING_ENABLE', STATE, rings.setEnable)],
  [19, message('SEND_RARP', U64, device.sendRarp, { needs: PROTOCOL_FEATURE.RARP })],
  [20, message('NET_SET_MTU', U64, device.setMtu, { needs: PROTOCOL_FEATURE.NET_MTU })],
  [34, message('RESET_DEVICE', NONE, device.resetDevice, { needs: PROTOCOL_FEATURE.RESET_DEVICE })],
  [
    36,
    message('GET_MAX_MEM_SLOTS', NONE, memory.getMaxSlots, {
      needs: PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS,
      replies: true,
    }),
  ],
  [
    37,
    message('ADD_MEM_REG', REGION, memory.addRegion, {
      descriptors: [1, 1],
      needs: PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS,
    }),
  ],
  [
    38,
    message('REM_MEM_REG', REGION, memory.removeRegion, {
      descriptors: [0, 1],
      needs: PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS,
    }),
  ],
]);
