/**
 * Whether this host's kernel forwards what an adapter receives. Packet sockets get copies: the kernel sees each frame to the interface's
 * own MAC address, too, and of an IP datagram for a VM, which is none of its own addresses, a router tells the sender that there is a better
 * way (ICMP redirect) or none (unreachable), as a router has to (RFC 1812 §5.2.7).
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { AdapterPlan } from '../plan.ts';
import type { Native } from '../native.ts';
import { macText } from '../wire/mac.ts';

type Interfaces = Pick<Native, 'interfaceInfo'>;

const SETTINGS = '/proc/sys/net/ipv4/conf';

/** What is wrong and what to do, or ''. With a MAC address of its own an adapter's frames are none of the kernel's business. */
export function forwardedByHost(
  { name, interface: configured, mac }: AdapterPlan,
  native: Interfaces,
): string {
  try {
    const info = native.interfaceInfo(configured);
    if (mac !== null && mac !== macText(info.mac)) return '';
    const device = ownName(configured, info.index, native);
    if (readFileSync(`${SETTINGS}/${device}/forwarding`, 'latin1').trim() === '0') return '';
    return (
      `adapter ${name}: this host is a router on ${device}, for what the LAN sends to VMs, too, and answers it with ICMP redirects and errors: ` +
      `give the adapter a MAC address of its own (adapters.${name}.mac), or turn that off (sysctl -w net/ipv4/conf/${device}/forwarding=0)`
    );
  } catch {
    return ''; // there is no such interface now
  }
}

/** Of an interface that was named by an alternative name, which settings don't know. */
function ownName(configured: string, index: number, native: Interfaces): string {
  const names = readdirSync(SETTINGS);
  if (names.includes(configured)) return configured;
  return names.find((name) => isAt(name, index, native)) ?? configured;
}

function isAt(name: string, index: number, native: Interfaces): boolean {
  try {
    return native.interfaceInfo(name).index === index;
  } catch {
    return false; // "all" and "default" are no interfaces
  }
}
