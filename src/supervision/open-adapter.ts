/**
 * Opens an adapter's packet sockets for the turn worker. The interface comes from the configuration, never from a guest,
 * and whatever goes wrong becomes a sentence for the management guest and the status.
 */
import type { ToWorker } from '../base/messages.ts';
import type { AdapterPlan } from '../plan.ts';
import { closeSockets, NO_SOCKETS, type PacketSockets } from '../adapter/packet-sockets.ts';
import { isEthernet, isUp } from '../adapter/rtnetlink.ts';
import { native } from '../native.ts';
import { whereCut } from './where-cut.ts';
import { macText, parseMac } from '../wire/mac.ts';

/**
 * Receive ring: 32 blocks of 256 KiB, handed over by the kernel when full or after a millisecond. A transmit frame holds the
 * ring's own header, the virtio-net header and the longest segmented datagram (64 KiB and headers): 17 pages.
 */
const RINGS = {
  blockBytes: 256 * 1024,
  blocks: 32,
  retireMilliseconds: 1,
  frameBytes: 17 * 4096,
  frames: 256,
};

export type AdapterAnswer = Extract<ToWorker, { kind: 'adapterOpened' | 'adapterRefused' }>;
/** The interface still has frames that were sent through the kept sockets before, and they take no new rings until it has sent them. */
export const BUSY = 'busy';

/**
 * Never throws. On 'adapterOpened' the descriptors belong to whoever gets the answer. `kept`: the packet sockets that were kept for
 * this adapter when the process gave up its capability.
 */
export function openAdapter(
  adapter: number,
  plan: AdapterPlan,
  kept = NO_SOCKETS,
): AdapterAnswer | typeof BUSY {
  const refused = (reason: string): AdapterAnswer => ({ kind: 'adapterRefused', adapter, reason });
  try {
    const info = native.interfaceInfo(plan.interface);
    if (!isEthernet(info.type)) return refused(`${plan.interface} is no Ethernet interface`);
    const { doorbell, opened } = openSockets(info.index, plan, kept);
    return {
      kind: 'adapterOpened',
      adapter,
      fd: opened.fd,
      doorbell,
      headerBytes: opened.headerBytes,
      receive: opened.receive,
      transmit: opened.transmit,
      mapBytes: opened.mapBytes,
      interfaceIndex: info.index,
      mac: plan.mac ?? macText(info.mac),
      mtu: info.mtu,
      up: isUp(info.flags),
      coupleUdp:
        plan.coupleUdp === 'auto' ? whereCut(plan.interface, macText(info.mac)) : plan.coupleUdp,
      takesLongUdp: info.takesLongUdp,
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return BUSY;
    return refused(reasonInWords(plan.interface, error as NodeJS.ErrnoException));
  }
}

/** The doorbell is made and bound first: who is bound last gets a frame first, and the bell should ring behind it. */
function openSockets(interfaceIndex: number, plan: AdapterPlan, kept: PacketSockets) {
  const unicast = plan.mac === null ? null : parseMac(plan.mac);
  const doorbell = native.packetDoorbell(
    interfaceIndex,
    unicast,
    kept.doorbell < 0 ? undefined : kept.doorbell,
  );
  try {
    const opened = native.packetOpen({
      interfaceIndex,
      ...RINGS,
      unicast,
      ...(kept.rings >= 0 && { socket: kept.rings }),
    });
    return { doorbell, opened };
  } catch (error) {
    closeSockets(native, { ...NO_SOCKETS, doorbell: doorbell.fd }, interfaceIndex, plan.mac);
    throw error;
  }
}

function reasonInWords(name: string, error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ENODEV':
    case 'ENXIO':
      return `there is no interface ${name} on this host`;
    case 'EPERM':
    case 'EACCES':
      return `not permitted to open ${name}: basewire lacks CAP_NET_RAW`;
    case 'ENOMEM':
    case 'ENOBUFS':
      return `not enough memory for the rings of ${name}`;
    case 'EMFILE':
    case 'ENFILE':
      return 'no file descriptor left';
    default:
      return `${name}: ${error.message}`;
  }
}
