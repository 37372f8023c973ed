/**
 * rtnetlink messages about links (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h): bytes of a datagram from the kernel into what
 * changed. Pure; bounds are checked although it is the kernel that speaks.
 *
 *     struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port
 *     struct ifinfomsg: u8 family, u8, u16 type, i32 index, u32 flags, u32 change
 *     then attributes: u16 length, u16 type, value, padded to 4 bytes
 */
const NLMSG_HEADER = 16;
const IFINFO = 16;
const ATTRIBUTE_HEADER = 4;

const NLMSG_OVERRUN = 4;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_PROP_LIST = 52;
/** Flags in the attribute's type: nested, network byte order. */
const NLA_TYPE_MASK = 0x3fff;

/** Names are bytes; where people give them others than ASCII they are UTF-8, as in the configuration. */
const decoder = new TextDecoder();
const IFNAMSIZ = 16;
const AF_UNSPEC = 0;
const ARPHRD_ETHER = 1;
const IFF_UP = 1;
const IFF_RUNNING = 0x40;

export interface LinkMessage {
  deleted: boolean;
  index: number;
  /** '' when the message has none. */
  name: string;
  /** It has alternative names. */
  otherNames: boolean;
  mtu: number | null;
  /** Six bytes, or null. */
  mac: Uint8Array | null;
  up: boolean;
}

/** Whether a kind of hardware (ARPHRD_, linux/if_arp.h) has Ethernet frames. */
export function isEthernet(type: number): boolean {
  return type === ARPHRD_ETHER;
}

/** Up by the administrator and with a carrier. */
export function isUp(flags: number): boolean {
  return (flags & (IFF_UP | IFF_RUNNING)) === (IFF_UP | IFF_RUNNING);
}

/**
 * Calls `onLink` for every link message in `bytes[0, length)`. False when the kernel says that messages were lost, or the
 * datagram is malformed: then the state must be read anew.
 */
export function parseLinks(
  bytes: Uint8Array,
  length: number,
  onLink: (message: LinkMessage) => void,
): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < length; ) {
    if (at + NLMSG_HEADER > length) return false;
    const size = view.getUint32(at, true);
    const type = view.getUint16(at + 4, true);
    if (size < NLMSG_HEADER || at + size > length) return false;
    if (type === NLMSG_OVERRUN) return false;
    if (type === RTM_NEWLINK || type === RTM_DELLINK) {
      if (size < NLMSG_HEADER + IFINFO) return false;
      const message = parseLink(view, bytes, at, at + size, type === RTM_DELLINK);
      if (message !== null) onLink(message);
    }
    at += (size + 3) & ~3;
  }
  return true;
}

/** One link message; null when it is not about an interface as such (bridges tell of their ports in this way). */
function parseLink(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  end: number,
  deleted: boolean,
): LinkMessage | null {
  const info = at + NLMSG_HEADER;
  if (bytes[info] !== AF_UNSPEC) return null;
  const message: LinkMessage = {
    deleted,
    index: view.getInt32(info + 4, true),
    name: '',
    otherNames: false,
    mtu: null,
    mac: null,
    up: isUp(view.getUint32(info + 8, true)),
  };
  for (let attribute = info + IFINFO; attribute + ATTRIBUTE_HEADER <= end; ) {
    const size = view.getUint16(attribute, true);
    if (size < ATTRIBUTE_HEADER || attribute + size > end) break;
    const value = attribute + ATTRIBUTE_HEADER;
    const valueEnd = attribute + size;
    switch (view.getUint16(attribute + 2, true) & NLA_TYPE_MASK) {
      case IFLA_IFNAME:
        message.name = text(bytes, value, valueEnd);
        break;
      case IFLA_PROP_LIST:
        message.otherNames = true;
        break;
      case IFLA_MTU:
        if (valueEnd - value === 4) message.mtu = view.getUint32(value, true);
        break;
      case IFLA_ADDRESS:
        if (valueEnd - value === 6) message.mac = bytes.slice(value, valueEnd);
        break;
    }
    attribute += (size + 3) & ~3;
  }
  return message;
}

/** A name up to its NUL. */
function text(bytes: Uint8Array, from: number, to: number): string {
  let end = from;
  while (end < to && end < from + IFNAMSIZ && bytes[end] !== 0) end++;
  return decoder.decode(bytes.subarray(from, end));
}
